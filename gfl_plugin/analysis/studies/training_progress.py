"""Progress of a training: a hook in its process writes it to a file, and the study that started it reads the file."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...runtime.atomic_files import write_whole

_FILE = "progress.json"  # in the run's folder
_INTERVAL = 0.5  # minimum seconds between two writes


@dataclass(frozen=True)
class TrainingProgress:
    """The last finished training step."""

    step: int  # number of finished steps
    steps: int  # total number of steps
    epoch: int  # current epoch, from 1
    epochs: int  # total number of epochs


def read_progress(folder: Path) -> TrainingProgress | None:
    """Read the progress that :class:`ProgressHook` wrote.

    Args:
        folder: folder of the run.

    Returns:
        The progress; None before the first step, or if the file cannot be read, since only the display needs it.
    """
    try:
        return TrainingProgress(**json.loads((folder / _FILE).read_text()))
    except (OSError, ValueError, TypeError):  # TypeError: other fields than those of this version
        return None


class ProgressHook(Hook):
    """Writes a :class:`TrainingProgress` about twice per second, and ends the training if its parent process has ended.

    Args:
        folder: folder of the run.
    """

    priority = "LOWEST"

    def __init__(self, folder: Path) -> None:
        self._path = folder / _FILE
        self._parent = os.getppid()
        self._written = 0.0

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Write the file if the last write is at least ``_INTERVAL`` ago; it is not synchronized to disk.

        A file that cannot be written does not end the training.

        Args:
            runner: provides steps and epochs.
            batch_idx: not used.
            data_batch: not used.
            outputs: not used.

        Raises:
            SystemExit: if the parent process has ended.
        """
        if os.getppid() != self._parent:
            sys.exit("the study that started this run has ended")
        if time.monotonic() - self._written > _INTERVAL:
            self._written = time.monotonic()
            progress = TrainingProgress(runner.iter + 1, runner.max_iters, runner.epoch + 1, runner.max_epochs)
            # Only the display needs the file; a disk that is full now may have space when the training ends.
            with contextlib.suppress(OSError):
                write_whole(self._path, json.dumps(asdict(progress)) + "\n", durable=False)
