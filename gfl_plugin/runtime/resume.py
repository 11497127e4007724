"""From which checkpoint an interrupted training goes on."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .checkpoints import read
from .errors import CheckpointError, in_a_line

_NEEDED = ("meta", "state_dict", "message_hub")  # what MMEngine asks a checkpoint for, on resume
_SUFFIXES = (".pth", ".ckpt", ".pt")
_LONGEST_NAME = 4096  # characters
_TIME = len("20261124_131500")
_BEST_KEY = "best_ckpt"  # how CheckpointHook begins the names of what it notes of them
_BEST = "best_"  # how CheckpointHook begins the names of those that have no optimizer


@dataclass(frozen=True)
class Choice:
    """What was found in a folder."""

    path: Path | None  # of the checkpoint to go on from; None where there is none
    broken: tuple[str, ...] = ()  # why it is not the one that last_checkpoint names, one line each


def choose(work_dir: Path) -> Choice:
    """The checkpoint that an interrupted training in a folder goes on from; see :func:`newest_whole`."""
    named = named_by_last_checkpoint(work_dir)
    folders = {work_dir}
    if named is not None and named.is_absolute() and named.parent.name == work_dir.name:
        folders.add(named.parent)  # CheckpointHook's out_dir has a folder of the training's name
    return newest_whole(named, [path for folder in sorted(folders) for path in checkpoints_in(folder)])


def checkpoints_in(folder: Path) -> list[Path]:
    """Files and folders (DeepSpeed's) that may be a training's checkpoints."""
    there = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in there if path.suffix in _SUFFIXES and not path.name.startswith((_BEST, ".")))


def named_by_last_checkpoint(work_dir: Path) -> Path | None:
    """The checkpoint that MMEngine's file ``last_checkpoint`` names; also where the folder has been moved since."""
    pointer = work_dir / "last_checkpoint"
    try:
        if not pointer.is_file():
            return None
        with open(pointer, encoding="utf-8") as file:
            text = file.read(_LONGEST_NAME).strip()
        named = Path(text)
        if not text or "\0" in text or named.suffix not in _SUFFIXES:
            return None
        moved = work_dir / named.name
        return moved if not named.exists() and moved.exists() else named
    except (OSError, ValueError):  # not readable, not a text, or not a name that a file can have
        return None


def newest_whole(named: Path | None, candidates: Sequence[Path]) -> Choice:
    """The checkpoint to go on from: the one that is named, or else the newest that is whole.

    Args:
        named: by ``last_checkpoint``; None where that is missing.
        candidates: files that may be checkpoints of the training, in any order. Which is the newest is told by the
            training and the iteration inside of them; what holds no training is passed over.

    Raises:
        CheckpointError: where there are checkpoints, and none is whole.
    """
    damaged: list[str] = []
    if named is not None and _holds_training(named, damaged):
        return Choice(named)
    why = "last_checkpoint is missing" if named is None else f"last_checkpoint names {named.name}, which is not whole"
    rest = [path for path in candidates if path != named]
    for path in sorted(rest, key=_age, reverse=True):
        if _holds_training(path, damaged):
            return Choice(path, (why, *damaged))
    if named is not None or damaged:
        raise CheckpointError(
            f"there is no whole checkpoint to resume from: {'; '.join((why, *damaged))}. To begin anew, train without "
            "--resume, in another folder"
        )
    return Choice(None)


def drop_foreign_paths(info: dict[str, Any], folders: Sequence[Path]) -> list[str]:
    """Take out of a resumed training's notes what would have CheckpointHook remove files that are not its own.

    It removes the last best checkpoint when there is a better one, and old checkpoints by their numbers.

    Args:
        info: ``runtime_info`` of the message hub, out of a checkpoint.
        folders: where the training's checkpoints are.

    Returns:
        The names of what was taken out.
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
    """Whether a checkpoint is whole and a training can go on from it. Folders (DeepSpeed's) are not read.

    Args:
        path: of the checkpoint.
        damaged: what is wrong with a file that cannot be read is added to it.
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
    """When the process that wrote a checkpoint began, and the iteration.

    MMEngine names a training by its config and that time. The time of a checkpoint itself would go back when the clock
    does.
    """
    try:
        if not path.is_file():
            return "", 0
        content: Any = read(path, "cpu")
        name, iteration = content["meta"].get("experiment_name"), content["meta"].get("iter")
        began = name[-_TIME:] if isinstance(name, str) else ""
        return began, iteration if isinstance(iteration, int) else 0
    except Exception:  # damaged: looked at last
        return "", 0
