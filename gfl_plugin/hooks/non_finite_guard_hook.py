"""A hook that skips optimizer steps with non-finite losses or gradients."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from ..registry import HOOKS
from ..runtime.non_finite import NonFiniteError, listed, non_finite
from ..runtime.snapshot import Snapshot
from ..runtime.step_record import random_state
from .finite_checkpoints import FiniteCheckpoints
from .non_finite_recorder import NonFiniteRecorder, StepBatch


@HOOKS.register_module()
class NonFiniteGuardHook(Hook):
    """Skips optimizer steps with non-finite losses or gradients, and writes a record of them.

    A skipped step leaves weights and optimizer state unchanged. Buffers (batch norm statistics) and moving averages (of
    hooks with an ``ema_model``) are restored to their values before the step, and so is the model if other hooks change
    it after the step. With gradient accumulation a step has several batches, and all of them are skipped. Iteration
    numbers, schedules and random numbers advance as usual. The scalar ``train/skipped_steps`` in the logs counts the
    skipped steps.

    The batch, the state before the step and the names of non-finite tensors are written to
    ``<work_dir>/non_finite/iter_<n>_rank_<r>.pth``; ``gfl-plugin replay FILE`` runs the step again. If a record cannot
    be written, a warning is logged. If one of several processes has to skip a step, all skip it. Checkpoints with
    values that became NaN or infinite in training are not written.

    With a gradient scaler (fp16) only losses are checked: the scaler itself skips steps whose gradients overflow. With
    weights sharded over processes (FSDP) no record is written. The check reads all gradients once, and synchronizes
    with the GPU once per step; with gradient accumulation, once per batch.

    Args:
        action: "skip" to continue with the next batch, "stop" to end training at once.
        patience: number of consecutive skipped steps after which training ends.
        max_records: files written at most; each is as large as the weights.

    Raises:
        ValueError: if ``action`` is unknown, ``patience`` or ``max_records`` is below 1, or the optimizer wrapper is
            not an OptimWrapper.
        NonFiniteError: in training, when the hook ends it.
    """

    priority = 5  # after ExactResumeHook has seeded the step, before hooks that use its outputs

    def __init__(self, action: str = "skip", patience: int = 20, max_records: int = 3) -> None:
        if action not in ("skip", "stop"):
            raise ValueError(f"action is {action!r}; it must be 'skip' or 'stop'")
        if not (patience >= 1 and max_records >= 1):
            raise ValueError(f"patience is {patience} and max_records is {max_records}; both must be >= 1")
        self.action, self.patience, self.max_records = action, patience, max_records
        self.skipped = 0  # steps in total
        self._in_a_row = 0  # consecutive skipped steps
        self._batches: list[StepBatch] = []  # of the current step
        self._finite_loss: Tensor | None = None  # () bool, whether all losses of the current step are finite
        self._stepped = False  # whether the current step has been done or skipped
        self._fault: list[str] | None = None  # non-finite gradients of the step just skipped
        self._before: Snapshot | None = None  # before the step: buffers, and averages with gradient accumulation
        self._undo: Snapshot | None = None  # the model after a skipped step, before other hooks change it
        self._original: tuple | None = None  # the optimizer wrapper's own backward and step
        self._recorder: NonFiniteRecorder | None = None
        self.records: list[Path] = []  # files written so far

    # -----------------------------------------------------------------------------------------------
    # Before the step
    # -----------------------------------------------------------------------------------------------

    def before_train(self, runner: Runner) -> None:
        wrapper = runner.optim_wrapper
        if not isinstance(wrapper, OptimWrapper):
            raise ValueError(
                f"optim_wrapper is a {type(wrapper).__name__}; NonFiniteGuardHook works with an OptimWrapper (one "
                "optimizer)"
            )
        self._model = _unwrapped(runner.model)
        self._averages = [hook.ema_model for hook in runner.hooks if isinstance(_average(hook), nn.Module)]
        self._wrapper, self._original = wrapper, (wrapper.backward, wrapper.step)
        self._accumulates = wrapper._accumulative_counts > 1
        # With the attributes of the original, in which a scheduler marks a step that it counts, and warns of others.
        wrapper.step = functools.update_wrapper(functools.partial(self._step), wrapper.step)
        wrapper.backward = self._backward
        self._batches, self._finite_loss, self._stepped = [], None, False
        self._recorder = NonFiniteRecorder(self._model, wrapper, self.max_records, self.records)
        if not any(isinstance(hook, _Undo) for hook in runner.hooks):
            runner.register_hook(_Undo(self))
            runner.register_hook(checkpoints := FiniteCheckpoints(self._model, self._before_step))
            checkpoints.before_train(runner)

    def after_train(self, runner: Runner) -> None:
        self._wrapper.backward, self._wrapper.step = self._original

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        if not self._batches:
            buffers = Snapshot.of(self._model, weights=False)
            averages = Snapshot.of(*self._averages) if self._accumulates else Snapshot(())
            self._before = Snapshot(buffers.parts + averages.parts)
        self._batches.append(StepBatch(data_batch, runner.epoch, runner.iter, random_state()))

    def _backward(self, loss: Tensor, **kwargs: Any) -> None:
        finite = loss.detach().isfinite().all()
        self._finite_loss = finite if self._finite_loss is None else self._finite_loss & finite
        self._original[0](loss, **kwargs)

    def _step(self, **kwargs: Any) -> None:
        finite, self._finite_loss = self._finite_loss, None
        self._stepped = True
        if finite is None:  # a step without a call of backward
            finite = torch.ones((), dtype=torch.bool, device=next(self._model.parameters()).device)
        scaler = getattr(self._wrapper, "loss_scaler", None)
        if scaler is None or not scaler.is_enabled():
            largest = [torch.linalg.vector_norm(_values(p.grad), float("inf")) for p in self._weights()]
            if largest:
                finite = finite & torch.stack(largest).isfinite().all()
        fault = (~finite).to(torch.float32)
        all_reduce(fault, "max")
        if fault.item() == 0:
            self._in_a_row = 0
            self._original[1](**kwargs)
            return
        gradients = ((name, p.grad) for name, p in self._model.named_parameters() if p.grad is not None)
        self._fault = non_finite((name, _values(gradient)) for name, gradient in gradients)
        self._before.restore()

    def _weights(self) -> list[nn.Parameter]:
        """Parameters of the optimizer that have a gradient."""
        every = (p for group in self._wrapper.optimizer.param_groups for p in group["params"])
        return [p for p in every if p.grad is not None and p.grad.numel()]  # a shard may be empty

    def _before_step(self, name: str, of_average: bool) -> Tensor | None:
        """The value of a buffer before the current step; None between steps."""
        if not self._batches or self._stepped:
            return None
        if of_average and len(self._before.parts) > 1:
            average = self._before.value(f"module.{name}", part=1)
            return self._before.value(name, part=1) if average is None else average
        return self._before.value(name)

    # -----------------------------------------------------------------------------------------------
    # After the step
    # -----------------------------------------------------------------------------------------------

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        if self._accumulates or self._fault is not None:
            self._batches[-1].losses = losses = non_finite((outputs or {}).items())
            for name in losses:
                outputs.pop(name)  # else the smoothed values in the logs would be NaN for many steps
        if not self._stepped:
            return
        batches, self._batches, self._stepped = self._batches, [], False
        if self._fault is not None:
            # With gradient accumulation, averages have been restored together with the buffers.
            self._undo = Snapshot.of(self._model, *self._averages)
            gradients, self._fault = self._fault, None
            self._report(runner, batches, gradients)

    def undo(self) -> None:
        """Restore what other hooks have changed after a skipped step."""
        if self._undo is not None:
            self._undo.restore()
            self._undo = None

    def _report(self, runner: Runner, batches: Sequence[StepBatch], gradients: list[str]) -> None:
        """Count and record a skipped step; then log it, or end training."""
        self.skipped += 1
        self._in_a_row += 1
        runner.message_hub.update_scalar("train/skipped_steps", self.skipped)
        losses = next((one.losses for one in batches if one.losses), [])
        # If neither is known, only another process has non-finite values, and that process writes the record.
        written = self._recorder.try_record(runner, batches, gradients, self._before) if losses or gradients else ""
        kind, names = ("losses", losses) if losses else ("gradients", gradients)
        cause = f"non-finite {kind} in {listed(kind, names)}" if names else "non-finite values in another process"
        text = f"skipped optimizer step {runner.iter + 1}: {cause}{written}"
        if self.action == "stop" or self._in_a_row >= self.patience:
            why = "" if self.action == "stop" else f"; {self._in_a_row} consecutive steps were skipped"
            raise NonFiniteError(
                f"{text}{why}. The last checkpoint is valid, and this step has not changed the weights"
            )
        runner.logger.warning(text)


class _Undo(Hook):
    """Calls :meth:`NonFiniteGuardHook.undo` after other hooks and before CheckpointHook."""

    priority = 89

    def __init__(self, guard: NonFiniteGuardHook) -> None:
        self._guard = guard

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self._guard.undo()


def _unwrapped(model: nn.Module) -> nn.Module:
    return model.module if is_model_wrapper(model) else model


def _values(gradient: Tensor) -> Tensor:
    """The values of a gradient; only the stored ones of a sparse gradient."""
    return gradient.coalesce().values() if gradient.is_sparse else gradient


def _average(hook: Hook) -> object:
    return getattr(hook, "ema_model", None)
