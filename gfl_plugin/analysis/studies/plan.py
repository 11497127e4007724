"""Which runs a study consists of, which of them are done, and where they lie."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

import torch
from mmengine.config import Config

from .run import write_json
from .study import Variant

try:
    import fcntl
except ImportError:
    fcntl = None


@dataclass(frozen=True)
class Run:
    """A variant and a seed, and the folder that is theirs."""

    variant: Variant
    seed: int
    folder: Path
    config: Config
    fingerprint: str  # of the config and the seed

    @property
    def name(self) -> str:
        return f"{self.variant.name}, seed {self.seed}"

    @property
    def result(self) -> dict | None:
        """Its figures, where it is done."""
        return _read(self.folder / "result.json")


def planned(variant: Variant, seed: int, work_dir: Path, config: Config, data: str) -> Run:
    """A run of a config; the same config and seed have the same fingerprint wherever data lies."""
    text = json.dumps(config.to_dict(), sort_keys=True, default=str).replace(data, "DATA")
    fingerprint = hashlib.sha256(f"{seed} {text}".encode()).hexdigest()[:16]
    own = config.copy()
    own.randomness = dict(seed=seed)
    return Run(variant, seed, work_dir / variant.name / f"seed_{seed}", own, fingerprint)


def claim(work_dir: Path, study: str, scale: str) -> None:
    """Mark a folder as a study's.

    Raises:
        ValueError: when it is another study's, or not empty and nobody's.
    """
    mark, own = work_dir / "study.json", {"study": study, "scale": scale}
    found = _read(mark)
    if found is None and work_dir.is_dir() and any(work_dir.iterdir()):
        raise ValueError(f"{work_dir} is not empty and no study's; name a new folder with --work-dir")
    if found not in (None, own):
        raise ValueError(
            f"{work_dir} holds study {found.get('study')} at scale {found.get('scale')}, not {study} at {scale}; name "
            "another folder with --work-dir"
        )
    work_dir.mkdir(parents=True, exist_ok=True)
    write_json(mark, own)


def to_do(runs: list[Run]) -> list[Run]:
    """The runs that are not done; what a sibling study has already run is taken over.

    Raises:
        ValueError: when a finished run was made with another config: it is never overwritten.
    """
    open_runs = []
    for run in runs:
        result = run.result or _taken_over(run)
        if result is None:
            open_runs.append(run)
        elif result["fingerprint"] != run.fingerprint:
            raise ValueError(
                f"{run.folder} holds a finished run of another config or data than {run.variant.path} gives now; it is "
                "kept as it is: move it away, or name another folder with --work-dir"
            )
    return open_runs


def _taken_over(run: Run) -> dict | None:
    """The result of the same config and seed in a study beside this one."""
    study = run.folder.parents[1]
    for path in sorted(study.parent.glob("*/*/seed_*/result.json")):
        result = _read(path)
        if result and result["fingerprint"] == run.fingerprint and "taken_from" not in result:
            run.folder.mkdir(parents=True, exist_ok=True)
            taken = {**result, "variant": run.variant.name, "taken_from": str(path.parent.relative_to(study.parent))}
            write_json(run.folder / "result.json", taken)
            return taken
    return None


def need_room(runs: list[Run], work_dir: Path) -> None:
    """Look before starting whether results will fit.

    Raises:
        OSError: where they will not.
    """
    if not runs:
        return
    from mmdet.registry import MODELS
    from mmengine.registry import init_default_scope

    init_default_scope("mmdet")
    parameters = {}
    for run in runs:
        if run.variant.name not in parameters:
            model = MODELS.build(run.config.model)
            parameters[run.variant.name] = sum(p.numel() for p in model.parameters())
    # Weights, gradients' momentum, a checkpoint being written beside the last, detections and logs.
    need = sum(4 * 4 * parameters[run.variant.name] + 20e6 for run in runs)
    free = shutil.disk_usage(work_dir).free
    if free < need:
        raise OSError(
            f"{len(runs)} runs need about {need / 1e9:.1f} GB and {work_dir} has {free / 1e9:.1f} GB; free some, or "
            "name a folder on another disk with --work-dir"
        )


def prepare(run: Run) -> None:
    """An empty folder with the run's config; what an unfinished attempt left goes."""
    if run.folder.exists():
        shutil.rmtree(run.folder)
    run.folder.mkdir(parents=True)
    run.config.dump(run.folder / "config.py")


def finish(run: Run) -> None:
    """Turn the figures that the run's process left into its result."""
    figures = _read(run.folder / "figures.json")
    write_json(
        run.folder / "result.json",
        {
            "variant": run.variant.name,
            "seed": run.seed,
            "fingerprint": run.fingerprint,
            **figures,
            "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "machine": asdict(machine()),
        },
    )


@contextlib.contextmanager
def alone_in(work_dir: Path) -> Iterator[None]:
    """Keep a second process from running the same study at the same time; the system lifts it when this one ends.

    Raises:
        ValueError: when there is one already.
    """
    if fcntl is None:  # not on this system
        yield
        return
    with open(work_dir / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(
                f"another process is running the study in {work_dir}; wait for it, or name another folder with "
                "--work-dir"
            ) from None
        yield


@dataclass(frozen=True)
class Machine:
    """What a run was made on."""

    processor: str
    cores: int
    torch: str


def machine() -> Machine:
    if torch.cuda.is_available():
        return Machine(torch.cuda.get_device_name(), torch.cuda.device_count(), torch.__version__)
    return Machine(_processor(), len(cores()), torch.__version__)


def cores() -> set[int]:
    """Those this process may use."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _read(path: Path) -> dict | None:
    return json.loads(path.read_text()) if path.exists() else None
