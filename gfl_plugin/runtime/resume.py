"""Selection of the checkpoint from which a training resumes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .checkpoints import read
from .errors import CheckpointError, in_a_line

_NEEDED = ("meta", "state_dict", "message_hub")  # keys that MMEngine reads on resume
_SUFFIXES = (".pth", ".ckpt", ".pt")
_MAX_NAME_LENGTH = 4096  # characters
_TIME_LENGTH = len("20261124_131500")
_BEST_KEY = "best_ckpt"  # prefix of CheckpointHook's keys about best checkpoints
_BEST = "best_"  # prefix of the file names of best checkpoints, which have no optimizer state


@dataclass(frozen=True)
class Choice:
    """The checkpoint to resume from."""

    path: Path | None  # None: there is no checkpoint
    broken: tuple[str, ...] = ()  # why it is not the checkpoint in last_checkpoint, one line per reason


def choose(work_dir: Path) -> Choice:
    """Choose the checkpoint from which the training of a work folder resumes.

    Args:
        work_dir: the work folder.

    Returns:
        The choice of :func:`newest_whole`.

    Raises:
        CheckpointError: see :func:`newest_whole`.
    """
    named = named_by_last_checkpoint(work_dir)
    folders = {work_dir}
    if named is not None and named.is_absolute() and named.parent.name == work_dir.name:
        folders.add(named.parent)  # CheckpointHook creates a folder of the training's name in its out_dir
    return newest_whole(named, [path for folder in sorted(folders) for path in checkpoints_in(folder)])


def checkpoints_in(folder: Path) -> list[Path]:
    """List files and folders (of DeepSpeed) that may be checkpoints of a training.

    Args:
        folder: may be missing.

    Returns:
        Paths, sorted; without best checkpoints.
    """
    there = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in there if path.suffix in _SUFFIXES and not path.name.startswith((_BEST, ".")))


def named_by_last_checkpoint(work_dir: Path) -> Path | None:
    """Read the path in MMEngine's file ``last_checkpoint``.

    Args:
        work_dir: the work folder; it may have been moved since the file was written.

    Returns:
        The path; None if the file is missing or does not contain a checkpoint's path.
    """
    pointer = work_dir / "last_checkpoint"
    try:
        if not pointer.is_file():
            return None
        with open(pointer, encoding="utf-8") as file:
            text = file.read(_MAX_NAME_LENGTH).strip()
        named = Path(text)
        if not text or "\0" in text or named.suffix not in _SUFFIXES:
            return None
        moved = work_dir / named.name
        return moved if not named.exists() and moved.exists() else named
    except (OSError, ValueError):  # not readable, not text, or not a valid file name
        return None


def newest_whole(named: Path | None, candidates: Sequence[Path]) -> Choice:
    """Choose the checkpoint in ``last_checkpoint``, or else the newest complete one.

    Args:
        named: path in ``last_checkpoint``; None if that file is missing.
        candidates: files that may be checkpoints of the training, in any order. Start time and iteration in the
            checkpoints determine the newest; files without training state are ignored.

    Returns:
        The choice.

    Raises:
        CheckpointError: if there are checkpoints, but none is complete.
    """
    damaged: list[str] = []
    if named is not None and _holds_training(named, damaged):
        return Choice(named)
    why = "last_checkpoint is missing" if named is None else f"last_checkpoint names {named.name}, which is incomplete"
    rest = [path for path in candidates if path != named]
    for path in sorted(rest, key=_age, reverse=True):
        if _holds_training(path, damaged):
            return Choice(path, (why, *damaged))
    if named is not None or damaged:
        raise CheckpointError(
            f"there is no complete checkpoint to resume from: {'; '.join((why, *damaged))}. To start a new training, "
            "leave --resume out and use another work folder"
        )
    return Choice(None)


def drop_foreign_paths(info: dict[str, Any], folders: Sequence[Path]) -> list[str]:
    """Remove paths from a checkpoint's message hub that would make CheckpointHook remove files of others.

    CheckpointHook removes the previous best checkpoint when there is a better one, and old checkpoints by number.

    Args:
        info: ``runtime_info`` of the message hub from a checkpoint; entries are removed in place.
        folders: that contain the training's checkpoints.

    Returns:
        The keys of the removed entries.
    """
    allowed = {os.path.abspath(folder) for folder in folders}
    dropped = []
    for key in list(info):
        value = info[key]
        if key.startswith(_BEST_KEY) or key == "last_ckpt":
            name = os.path.basename(value) if isinstance(value, str) else ""
            own = name.endswith(_SUFFIXES) and os.path.dirname(os.path.abspath(value)) in allowed
            right = value is None or (own and (key == "last_ckpt" or name.startswith(_BEST)))
        elif key == "keep_ckpt_ids":
            right = isinstance(value, (list, tuple)) and all(type(one) is int and one >= 0 for one in value)
        else:
            continue
        if not right:
            dropped.append(key)
            del info[key]
    return dropped


def _holds_training(path: Path, damaged: list[str]) -> bool:
    """Whether a checkpoint is complete and contains training state. Folders (of DeepSpeed) are not read.

    Args:
        path: of the checkpoint.
        damaged: receives a line if the file cannot be read.

    Returns:
        True if training can resume from it.
    """
    if path.is_dir():
        return any(path.iterdir())
    try:
        content = read(path, "cpu")
    except (CheckpointError, OSError) as error:
        damaged.append(str(error))
        return False
    except RuntimeError as error:
        damaged.append(f"{path} cannot be read ({in_a_line(error)})")
        return False
    return all(isinstance(content.get(key), Mapping) for key in _NEEDED) and {"epoch", "iter"} <= content["meta"].keys()


def _age(path: Path) -> tuple[str, int]:
    """Start time of the process that wrote a checkpoint, and iteration.

    MMEngine names a training by its config and its start time. File times are not used: they depend on the clock.
    """
    try:
        if not path.is_file():
            return "", 0
        content: Any = read(path, "cpu")
        name, iteration = content["meta"].get("experiment_name"), content["meta"].get("iter")
        started = name[-_TIME_LENGTH:] if isinstance(name, str) else ""
        return started, iteration if isinstance(iteration, int) else 0
    except Exception:  # damaged: sorted last
        return "", 0
