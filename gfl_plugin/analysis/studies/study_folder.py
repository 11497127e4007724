"""The folder of a study: its owner, a lock for one process at a time, and its disk space."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from .plan import Run
from .report_files import report_files
from .results import write_json

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_MARK, _LOCK = "study.json", "lock"
_BYTES_PER_PARAMETER = 4 * 4  # weights, momentum, and two checkpoints while one is written
_BYTES_PER_RUN = 20e6  # detections and logs


def check_owner(work_dir: Path, study: str, scale: str) -> None:
    """Check that a study may use a folder; no file is written.

    Args:
        work_dir: the folder; it may be missing.
        study: name of the study.
        scale: name of the scale.

    Raises:
        ValueError: if the folder belongs to another study, or contains other files.
    """
    mark = work_dir / _MARK
    if mark.exists():
        found = json.loads(mark.read_text())
        if found != {"study": study, "scale": scale}:
            raise ValueError(
                f"{work_dir} contains study {found.get('study')} at scale {found.get('scale')}, not {study} at {scale}"
                "; use another folder with --work-dir"
            )
    elif work_dir.is_dir() and set(work_dir.iterdir()) - set(report_files(study, work_dir)):
        raise ValueError(f"{work_dir} is not empty and does not belong to a study; use a new folder with --work-dir")


def reserve(work_dir: Path, study: str, scale: str) -> None:
    """Create the folder of a study and mark it with the study's name.

    Args:
        work_dir: the folder; it may be missing.
        study: name of the study.
        scale: name of the scale.

    Raises:
        ValueError: if the folder belongs to another study, or contains other files.
    """
    check_owner(work_dir, study, scale)
    work_dir.mkdir(parents=True, exist_ok=True)
    write_json(work_dir / _MARK, {"study": study, "scale": scale})


@contextlib.contextmanager
def locked(work_dir: Path) -> Iterator[None]:
    """Lock a study for this process; the operating system releases the lock when the process ends.

    Args:
        work_dir: folder of the study.

    Yields:
        None.

    Raises:
        ValueError: if another process has the lock.
    """
    if fcntl is None:
        yield
        return
    with open(work_dir / _LOCK, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(
                f"another process is running the study in {work_dir}; wait for it, or use another folder with "
                "--work-dir"
            ) from None
        yield


def check_disk_space(runs: list[Run], work_dir: Path) -> None:
    """Check before training that the disk has enough free space for the results.

    Args:
        runs: runs to train.
        work_dir: folder of the study.

    Raises:
        OSError: if the free space is too small.
    """
    if not runs:
        return
    from mmdet.registry import MODELS
    from mmengine.registry import init_default_scope

    init_default_scope("mmdet")
    parameters: dict[str, int] = {}
    for run in runs:
        if run.variant.name not in parameters:
            model = MODELS.build(run.config.model)
            parameters[run.variant.name] = sum(p.numel() for p in model.parameters())
    need = sum(_BYTES_PER_PARAMETER * parameters[run.variant.name] + _BYTES_PER_RUN for run in runs)
    free = shutil.disk_usage(work_dir).free
    if free < need:
        raise OSError(
            f"{len(runs)} runs need about {need / 1e9:.1f} GB, but {work_dir} has {free / 1e9:.1f} GB free; free some "
            "space, or use a folder on another disk with --work-dir"
        )
