"""Judges checkpoints before they are written: no number may have become NaN or infinite in training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from ..runtime.step_record import NonFiniteError, listed, named_tensors, non_finite

_PARTS = ("state_dict", "ema_state_dict", "optimizer")
_WRAPPERS = ("module.", "_fsdp_wrapped_module.")  # that put themselves into names


class FiniteCheckpoints(Hook):
    """Lets no checkpoint be written that holds a number which became NaN or infinite in training.

    What was so before training began, a mask of -inf for instance, is not judged. It runs when every other hook, the
    moving average's among them, has changed what it wants in the checkpoint.

    Args:
        model: as it is when training begins.
        before_the_step: gives the value of a buffer before the optimizer step that is still open, or None: while
            gradients are accumulated a bad batch may already be in the buffers, and it is known that they will go back.

    Raises:
        NonFiniteError: when a checkpoint is about to be written.
    """

    priority = "LOWEST"

    def __init__(self, model: nn.Module, before_the_step: Callable[[str, bool], Tensor | None]) -> None:
        values = [*model.named_parameters(), *model.named_buffers()]
        always = set(non_finite(values))
        self.always = {_bare(name): value.detach().clone() for name, value in values if name in always}
        self._before_the_step = before_the_step

    def before_train(self, runner: Runner) -> None:
        if self.always:
            runner.logger.warning(
                f"{listed('tensors', list(self.always))}: not finite when training begins; such values are not judged"
            )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        self._put_back(checkpoint)
        found = self._became_non_finite(checkpoint)
        if found:
            raise NonFiniteError(
                f"no checkpoint is written, as these are not finite: {listed('tensors', found)}. The one before is "
                "sound; lower the learning rate, or clip gradients (optim_wrapper.clip_grad)"
            )

    def _became_non_finite(self, checkpoint: Mapping[str, Any]) -> list[str]:
        parts = {key: checkpoint[key] for key in _PARTS if key in checkpoint}
        tensors = dict(named_tensors(parts))
        return [name for name in non_finite(tensors.items()) if self._became(name, tensors[name])]

    def _became(self, name: str, value: Tensor) -> bool:
        """Whether any number of a tensor is not finite and was another one when training began."""
        before = self.always.get(_bare(name.partition(".")[2]))
        if before is None or before.shape != value.shape:
            return True
        before = before.to(value.device, value.dtype)
        same = (value == before) | (value.isnan() & before.isnan())
        return bool((~value.isfinite() & ~same).any())

    def _put_back(self, checkpoint: dict) -> None:
        """Exchange buffers that a bad batch is in, of a step that is still open, for what they will go back to."""
        averaged = (
            "ema_state_dict" in checkpoint
        )  # then EMAHook has put its average into state_dict, and the model there
        for key, of_average in (("state_dict", averaged), ("ema_state_dict", False)):
            part = checkpoint.get(key, {})
            for name, value in list(part.items()):
                if not (isinstance(value, Tensor) and value.is_floating_point()) or bool(value.isfinite().all()):
                    continue
                before = self._before_the_step(_bare(name), of_average)
                if before is not None and torch.is_same_size(before, value):
                    part[name] = before.to(value.device)


def _bare(name: str) -> str:
    """A name without those that wrappers put into it."""
    for wrapper in _WRAPPERS:
        name = name.replace(wrapper, "") if wrapper in name else name
    return name
