"""From which checkpoint an interrupted training goes on."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .checkpoints import read
from .errors import CheckpointError, in_a_line

_NEEDED = ("meta", "state_dict", "message_hub")  # what MMEngine asks a checkpoint for, on resume
_BEST = "best_"  # how CheckpointHook begins the names of those that have no optimizer


@dataclass(frozen=True)
class Choice:
    """What was found in a folder."""

    path: Path | None  # of the checkpoint to go on from; None where there is none
    broken: tuple[str, ...] = ()  # why it is not the one that last_checkpoint names, one line each


def choose(work_dir: Path) -> Choice:
    """The checkpoint that an interrupted training in a folder goes on from; see :func:`newest_whole`."""
    named = named_by_last_checkpoint(work_dir)
    folders = {work_dir, named.parent} if named is not None else {work_dir}
    return newest_whole(named, [path for folder in sorted(folders) for path in checkpoints_in(folder)])


def checkpoints_in(folder: Path) -> list[Path]:
    """Files in a folder that may be a training's checkpoints."""
    return sorted(path for path in folder.glob("*.pth") if not path.name.startswith((_BEST, ".")))


def named_by_last_checkpoint(work_dir: Path) -> Path | None:
    """The checkpoint that MMEngine's file ``last_checkpoint`` names; also where the folder has been moved since."""
    try:
        text = (work_dir / "last_checkpoint").read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
    if not text or "\0" in text:
        return None
    named = Path(text)
    moved = work_dir / named.name
    return moved if not named.exists() and moved.exists() else named


def newest_whole(named: Path | None, candidates: Sequence[Path]) -> Choice:
    """The checkpoint to go on from: the one that is named, or else the newest that is whole.

    Args:
        named: by ``last_checkpoint``; None where that is missing.
        candidates: files that may be checkpoints of the training, in any order. Which is the newest is told by the time
            and the iteration inside of them; what holds no training is passed over.

    Raises:
        CheckpointError: where there are checkpoints, and none is whole.
    """
    damaged: list[str] = []
    if named is not None and _holds_training(named, damaged):
        return Choice(named)
    why = "last_checkpoint is missing" if named is None else f"last_checkpoint names {named.name}, which is not whole"
    rest = [path for path in candidates if named is None or path.resolve() != named.resolve()]
    for path in sorted(rest, key=_age, reverse=True):
        if _holds_training(path, damaged):
            return Choice(path, (why, *damaged))
    if named is not None or damaged:
        raise CheckpointError(
            f"there is no whole checkpoint to resume from: {'; '.join((why, *damaged))}. To begin anew, train without "
            "--resume, in another folder"
        )
    return Choice(None)


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
    """Time and iteration inside of a checkpoint; tensors are not read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            meta: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)["meta"]
        return str(meta.get("time", "")), int(meta.get("iter", 0))
    except Exception:  # damaged, or a folder: looked at last
        return "", 0
