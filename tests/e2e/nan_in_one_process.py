"""Imported by a training of several processes: one image in one process gets a NaN, each process records its state."""

from __future__ import annotations

import os
from pathlib import Path

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from gfl_plugin.hooks import NonFiniteGuardHook


@HOOKS.register_module()
class NanInOneProcessHook(Hook):
    """Writes a NaN into the second process's second batch, and records skipped steps and the sum of weights."""

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == 1 and get_rank() == 1:
            image = data_batch["inputs"][0].float()
            image[0, 3, 3] = float("nan")
            data_batch["inputs"] = [image, *data_batch["inputs"][1:]]

    def after_train(self, runner) -> None:
        guard = next(hook for hook in runner.hooks if isinstance(hook, NonFiniteGuardHook))
        total = sum(p.detach().double().sum().item() for p in runner.model.parameters())
        Path(os.environ["NAN_TRACE"], f"rank_{get_rank()}.txt").write_text(f"{guard.skipped} {total.hex()}")
