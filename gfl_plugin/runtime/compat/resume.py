"""Resuming from the newest complete checkpoint.

Problem: MMEngine's ``--resume`` reads the file in ``last_checkpoint``, damaged or not, and starts a new training if
    ``last_checkpoint`` is missing. Complete checkpoints may exist in the same folder: in the first case the run fails,
    in the second it overwrites them.
Versions: MMEngine <= 0.10.7.
Change: ``--resume`` uses the newest complete checkpoint, whichever hook wrote it, and logs its name.
Not needed when: MMEngine checks the checkpoint from which it resumes.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.logging import print_log
from mmengine.runner import _flexible_runner, runner

from ..errors import CheckpointError
from ..resume import choose
from ..terminal_text import escape_unprintable


def find_latest_checkpoint(path: str) -> str | None:
    """Choose the checkpoint to resume from, the same in all processes.

    Args:
        path: the work folder.

    Returns:
        Path of the checkpoint; None if there is none.

    Raises:
        CheckpointError: see :func:`gfl_plugin.runtime.resume.newest_whole`.
    """
    result: list[Any] = [None, None]  # path, error
    if is_main_process():
        try:
            choice = choose(Path(path))
            result[0] = None if choice.path is None else str(choice.path)
            if result[0] and choice.broken:
                text = f"resuming from {choice.path}, the newest complete checkpoint: {'; '.join(choice.broken)}"
                print_log(escape_unprintable(text), logger="current", level=logging.WARNING)
        except CheckpointError as error:  # to be raised in all processes
            result[1] = str(error)
    broadcast_object_list(result)
    found, error = result
    if error:
        raise CheckpointError(error)
    return found


def close() -> str:
    """Replace the function by which both runners look for a checkpoint.

    Returns:
        What was changed.
    """
    for module in (runner, _flexible_runner):
        module.find_latest_checkpoint = find_latest_checkpoint
    return "--resume uses the newest complete checkpoint"
