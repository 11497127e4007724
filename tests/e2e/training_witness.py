"""Imported by a training that a test kills: records finished steps, and can slow down the writing of a checkpoint."""

from __future__ import annotations

import os
import time
from pathlib import Path

from mmengine.hooks import Hook
from mmengine.registry import HOOKS

import gfl_plugin.runtime.atomic_files

STEPS = Path(os.environ["WITNESS_STEPS"])  # one line per finished step
SLOW = os.environ.get("WITNESS_SLOW_STEP")  # the step whose checkpoint is written slowly


@HOOKS.register_module()
class WitnessHook(Hook):
    """Writes the number of each finished step, before its checkpoint is written."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        with STEPS.open("a") as file:
            file.write(f"{runner.iter + 1}\n")
        if SLOW is not None and runner.iter + 1 == int(SLOW):
            plain = os.fsync
            gfl_plugin.runtime.atomic_files.os.fsync = lambda descriptor: (time.sleep(30), plain(descriptor))
