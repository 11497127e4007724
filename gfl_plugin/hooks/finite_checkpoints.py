"""A hook that checks checkpoints for NaN and infinity before they are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from ..runtime.non_finite import NonFiniteError, listed, named_tensors, non_finite

_PARTS = ("state_dict", "ema_state_dict", "optimizer")
_WRAPPERS = ("module.", "_fsdp_wrapped_module.")  # what distributed wrappers insert into parameter names


class FiniteCheckpoints(Hook):
    """Refuses to write checkpoints with values that became NaN or infinite in training.

    Values that are not finite before training, such as a mask of -inf, are not checked. The hook runs after all other
    hooks, such as EMAHook, have changed the checkpoint.

    Args:
        model: in its state before training.
        before_step: called with the name of a buffer, and whether it is the moving average's; returns its value before
            the current optimizer step, or None. With gradient accumulation, buffers may already contain a non-finite
            batch of a step that will be skipped.

    Raises:
        NonFiniteError: in training, instead of writing such a checkpoint.
    """

    priority = "LOWEST"

    def __init__(self, model: nn.Module, before_step: Callable[[str, bool], Tensor | None]) -> None:
        values = [*model.named_parameters(), *model.named_buffers()]
        initial = set(non_finite(values))
        self._initial = {_without_wrappers(name): value.detach().clone() for name, value in values if name in initial}
        self._before_step = before_step

    def before_train(self, runner: Runner) -> None:
        if self._initial:
            runner.logger.warning(
                f"non-finite values before training in {listed('tensors', list(self._initial))}; these values are not "
                "checked"
            )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        self._restore_buffers(checkpoint)
        found = self._became_non_finite(checkpoint)
        if found:
            raise NonFiniteError(
                f"no checkpoint is written: non-finite values in {listed('tensors', found)}. The previous checkpoint "
                "is valid; lower the learning rate, or clip gradients (optim_wrapper.clip_grad)"
            )

    def _became_non_finite(self, checkpoint: Mapping[str, Any]) -> list[str]:
        parts = {key: checkpoint[key] for key in _PARTS if key in checkpoint}
        tensors = dict(named_tensors(parts))
        return [name for name in non_finite(tensors.items()) if self._became(name, tensors[name])]

    def _became(self, name: str, value: Tensor) -> bool:
        """Whether a tensor has a non-finite value that it did not have before training."""
        before = self._initial.get(_without_wrappers(name.partition(".")[2]))
        if before is None or before.shape != value.shape:
            return True
        before = before.to(value.device, value.dtype)
        same = (value == before) | (value.isnan() & before.isnan())
        return bool((~value.isfinite() & ~same).any())

    def _restore_buffers(self, checkpoint: dict) -> None:
        """Replace non-finite buffers by their values before the current step, which will be skipped."""
        averaged = "ema_state_dict" in checkpoint  # EMAHook has swapped the model and its average
        for key, of_average in (("state_dict", averaged), ("ema_state_dict", False)):
            part = checkpoint.get(key, {})
            for name, value in list(part.items()):
                if not (isinstance(value, Tensor) and value.is_floating_point()) or bool(value.isfinite().all()):
                    continue
                before = self._before_step(_without_wrappers(name), of_average)
                if before is not None and torch.is_same_size(before, value):
                    part[name] = before.to(value.device)


def _without_wrappers(name: str) -> str:
    """Remove from a parameter's name what distributed wrappers have inserted."""
    for wrapper in _WRAPPERS:
        name = name.replace(wrapper, "") if wrapper in name else name
    return name
