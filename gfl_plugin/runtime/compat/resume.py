"""MMEngine's ``--resume`` takes what ``last_checkpoint`` names, damaged or not; without that file it begins anew.

In both cases checkpoints that are whole lie beside it: one run ends, the other overwrites them. Here a training goes on
from the newest one that is whole, whichever hook wrote it, and says which.

Versions: MMEngine <= 0.10.7. Can go when it looks at what it resumes from.
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
    """The checkpoint to resume from; all processes get the same.

    Raises:
        CheckpointError: see :func:`gfl_plugin.runtime.resume.newest_whole`.
    """
    told: list[Any] = [None, None]
    if is_main_process():
        try:
            choice = choose(Path(path))
            told[0] = None if choice.path is None else str(choice.path)
            if told[0] and choice.broken:
                text = f"resuming from {choice.path}, the newest checkpoint that is whole: {'; '.join(choice.broken)}"
                print_log(escape_unprintable(text), logger="current", level=logging.WARNING)
        except CheckpointError as error:  # which the others have to raise, too
            told[1] = str(error)
    broadcast_object_list(told)
    found, error = told
    if error:
        raise CheckpointError(error)
    return found


def close() -> str:
    """Have ``--resume`` look at what it resumes from."""
    for module in (runner, _flexible_runner):
        module.find_latest_checkpoint = find_latest_checkpoint
    return "--resume goes on from the newest whole checkpoint"
