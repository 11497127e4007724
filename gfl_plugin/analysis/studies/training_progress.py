"""How far a training is: written to a file by a hook in the training's process, read by the study that started it."""

from __future__ import annotations

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
_INTERVAL = 0.5  # seconds between two writes


@dataclass(frozen=True)
class TrainingProgress:
    """The training step that was done last."""

    step: int  # steps done
    steps: int  # steps of the whole training
    epoch: int  # the current one, from 1
    epochs: int


def read_progress(folder: Path) -> TrainingProgress | None:
    """What :class:`ProgressHook` last wrote to a run's folder; None before the first step."""
    path = folder / _FILE
    return TrainingProgress(**json.loads(path.read_text())) if path.exists() else None


class ProgressHook(Hook):
    """Writes a :class:`TrainingProgress` about twice per second; ends the training when its parent process has ended.

    Args:
        folder: the run's folder.
    """

    priority = "LOWEST"

    def __init__(self, folder: Path) -> None:
        self._path = folder / _FILE
        self._parent = os.getppid()
        self._written = 0.0

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Write the file where the last write is long enough ago; it is not synchronized to disk."""
        if os.getppid() != self._parent:
            sys.exit("the study that started this run has ended")
        if time.monotonic() - self._written > _INTERVAL:
            self._written = time.monotonic()
            progress = TrainingProgress(runner.iter + 1, runner.max_iters, runner.epoch + 1, runner.max_epochs)
            write_whole(self._path, json.dumps(asdict(progress)) + "\n", durable=False)
