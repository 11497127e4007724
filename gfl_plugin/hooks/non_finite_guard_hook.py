"""Keeps what is not finite out of the weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_reduce, get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from ..registry import HOOKS
from ..runtime.errors import in_a_line
from ..runtime.snapshot import Snapshot
from ..runtime.step_record import (
    NonFiniteError,
    StepOutcome,
    StepRecord,
    listed,
    named_tensors,
    non_finite,
    plain_batch,
    random_state,
    run_step,
    set_random_state,
)
from .finite_checkpoints import FiniteCheckpoints


@dataclass
class _Part:
    """One batch of an optimizer step; there are several where gradients are accumulated."""

    batch: Any
    epoch: int
    iteration: int
    random: dict[str, Any]
    losses: list[str] = field(default_factory=list)  # names of those that are not finite


@HOOKS.register_module()
class NonFiniteGuardHook(Hook):
    """Skips an optimizer step whose loss or gradients are not finite, and keeps a record of it.

    Weights and the optimizer's state stay as they are; buffers (batch norm's statistics) and moving averages (of hooks
    with an ``ema_model``) go back to what they were before the step, and so does whatever other hooks change in the
    model after it. With accumulated gradients a step has several batches, and all of them are skipped. Iteration
    numbers, schedules and random numbers go on. In the logs ``train/skipped_steps`` counts.

    The batch, the state before the step and the names of what was not finite go to
    ``<work_dir>/non_finite/iter_<n>_rank_<r>.pth``, which ``gfl-plugin replay`` runs again. A record that cannot be
    written is a warning. Of several processes all skip when one has to. A checkpoint that holds a number which became
    NaN or infinite in training is not written.

    With a gradient scaler (fp16) only losses are judged: gradients that overflow are the scaler's business, which skips
    them itself. Of weights sharded over processes (FSDP) no record is written. The check reads all gradients once, and
    makes the host wait for a GPU once per step; with accumulated gradients, once per batch.

    Args:
        action: "skip" to go on with the next batch, "stop" to end training at once.
        patience: so many skipped steps in a row end training as well.
        max_records: files written at most; each is as large as the weights.

    Raises:
        ValueError: for another action, patience or max_records below 1, or an optimizer wrapper of another kind.
        NonFiniteError: in training, when it ends.
    """

    priority = 5  # after ExactResumeHook has seeded the step, before whatever looks at its outcome

    def __init__(self, action: str = "skip", patience: int = 20, max_records: int = 3) -> None:
        if action not in ("skip", "stop"):
            raise ValueError(f"action is {action!r}; it must be 'skip' or 'stop'")
        if not (patience >= 1 and max_records >= 1):
            raise ValueError(f"patience is {patience} and max_records {max_records}; both must be >= 1")
        self.action, self.patience, self.max_records = action, patience, max_records
        self.skipped = 0  # steps, in all
        self.records: list[Path] = []
        self._in_a_row = 0
        self._parts: list[_Part] = []  # of the step that is open
        self._finite_loss: Tensor | None = None  # of its batches so far
        self._stepped = False  # whether the step has been done or skipped
        self._fault: list[str] | None = None  # gradients of the step just skipped
        self._before: Snapshot | None = None  # the step: buffers, and averages where gradients are accumulated
        self._undo: Snapshot | None = None  # what other hooks change after a skipped step
        self._plain: tuple | None = None

    # -----------------------------------------------------------------------------------------------
    # Before the step
    # -----------------------------------------------------------------------------------------------

    def before_train(self, runner: Runner) -> None:
        wrapper = runner.optim_wrapper
        if not isinstance(wrapper, OptimWrapper):
            raise ValueError(f"NonFiniteGuardHook knows one optimizer; optim_wrapper is a {type(wrapper).__name__}")
        self._model = _bare(runner.model)
        self._averages = [hook.ema_model for hook in runner.hooks if isinstance(_average(hook), nn.Module)]
        self._wrapper, self._plain = wrapper, (wrapper.backward, wrapper.step)
        self._accumulates = wrapper._accumulative_counts > 1
        wrapper.backward, wrapper.step = self._backward, self._step
        self._parts, self._finite_loss, self._stepped = [], None, False
        if not any(isinstance(hook, _Undo) for hook in runner.hooks):
            runner.register_hook(_Undo(self))
            runner.register_hook(checkpoints := FiniteCheckpoints(self._model, self._before_the_step))
            checkpoints.before_train(runner)

    def after_train(self, runner: Runner) -> None:
        self._wrapper.backward, self._wrapper.step = self._plain

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        if not self._parts:
            buffers = Snapshot.of(self._model, weights=False)
            averages = Snapshot.of(*self._averages) if self._accumulates else Snapshot(())
            self._before = Snapshot(buffers.parts + averages.parts)
        self._parts.append(_Part(data_batch, runner.epoch, runner.iter, random_state()))

    def _backward(self, loss: Tensor, **kwargs: Any) -> None:
        finite = loss.detach().isfinite().all()
        self._finite_loss = finite if self._finite_loss is None else self._finite_loss & finite
        self._plain[0](loss, **kwargs)

    def _step(self, **kwargs: Any) -> None:
        finite, self._finite_loss = self._finite_loss, None
        self._stepped = True
        if finite is None:  # a step without a backward pass of ours
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
            self._plain[1](**kwargs)
            return
        gradients = ((name, p.grad) for name, p in self._model.named_parameters() if p.grad is not None)
        self._fault = non_finite((name, _values(gradient)) for name, gradient in gradients)
        self._before.restore()

    def _weights(self) -> list[nn.Parameter]:
        every = (p for group in self._wrapper.optimizer.param_groups for p in group["params"])
        return [p for p in every if p.grad is not None and p.grad.numel()]  # a shard may be empty

    def _before_the_step(self, name: str, of_average: bool) -> Tensor | None:
        """A buffer's value before the step that is open; None where none is."""
        if not self._parts or self._stepped:
            return None
        if of_average and len(self._before.parts) > 1:
            average = self._before.value(f"module.{name}", part=1)
            return self._before.value(name, part=1) if average is None else average
        return self._before.value(name)

    # -----------------------------------------------------------------------------------------------
    # After it
    # -----------------------------------------------------------------------------------------------

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        if self._accumulates or self._fault is not None:
            self._parts[-1].losses = losses = non_finite((outputs or {}).items())
            for name in losses:
                outputs.pop(name)  # or the logs' averages would be nothing but NaN for a while
        if not self._stepped:
            return
        parts, self._parts, self._stepped = self._parts, [], False
        if self._fault is not None:
            # Where gradients are accumulated, averages have gone back with the buffers.
            self._undo = Snapshot.of(self._model, *self._averages)
            gradients, self._fault = self._fault, None
            self._skipped(runner, parts, gradients)

    def undo(self) -> None:
        """Take back what other hooks have changed after a skipped step."""
        if self._undo is not None:
            self._undo.restore()
            self._undo = None

    def _skipped(self, runner: Runner, parts: list[_Part], gradients: list[str]) -> None:
        self.skipped += 1
        self._in_a_row += 1
        runner.message_hub.update_scalar("train/skipped_steps", self.skipped)
        losses = next((part.losses for part in parts if part.losses), [])
        # Where every loss is finite, nobody knows whose gradients were not.
        written = self._try_record(runner, parts, gradients) if losses or gradients else ""
        kind, names = ("losses", losses) if losses else ("gradients", gradients)
        cause = f"non-finite {kind} in {listed(kind, names)}" if names else "a non-finite number in another process"
        text = f"skipped optimizer step {runner.iter + 1}: {cause}{written}"
        if self.action == "stop" or self._in_a_row >= self.patience:
            why = "" if self.action == "stop" else f"; {self._in_a_row} steps in a row were skipped"
            raise NonFiniteError(f"{text}{why}. The last checkpoint is sound; weights are as before this step")
        runner.logger.warning(text)

    def _try_record(self, runner: Runner, parts: list[_Part], gradients: list[str]) -> str:
        """Write what the step was, and say where; whatever goes wrong then, training goes on."""
        if len(self.records) >= self.max_records:
            return f" (no further record: max_records={self.max_records})"
        if hasattr(runner.model, "sharding_strategy"):  # FSDP's
            return " (no record: its weights are spread over the processes)"
        try:
            return self._record(runner, parts, gradients)
        except Exception as error:  # a full disk, an unusable folder, a batch of an unknown kind
            return f" (no record, it could not be written: {in_a_line(error)})"

    def _record(self, runner: Runner, parts: list[_Part], gradients: list[str]) -> str:
        part, outcome = self._bad_part(parts)
        plain = plain_batch(part.batch)
        record = StepRecord(
            config=runner.cfg.pretty_text,
            epoch=part.epoch,
            iteration=part.iteration,
            state_dict={name: value.detach().cpu().clone() for name, value in self._model.state_dict().items()},
            random_state=part.random,
            batch=plain,
            inputs=non_finite(named_tensors(plain)),
            losses=part.losses,
            gradients=gradients,
            outputs=outcome.outputs if outcome else [],
        )
        path = Path(runner.work_dir) / "non_finite" / f"iter_{part.iteration + 1}_rank_{get_rank()}.pth"
        record.save(path)
        self.records.append(path)
        first = f", first in the output of {record.outputs[0]}" if record.outputs else ""
        return f"{first}; gfl-plugin replay {path} {_config_of(runner)} runs it again"

    def _bad_part(self, parts: list[_Part]) -> tuple[_Part, StepOutcome | None]:
        """The batch that was bad, and what it gives when it is run again.

        It is run again only in a process of its own, or others would have to take part. Where every loss is finite and
        there are several batches, it is the first whose own gradient is not.
        """
        known = next((part for part in parts if part.losses), parts[-1] if len(parts) == 1 else None)
        if get_world_size() > 1:
            return known or parts[-1], None
        with self._state_kept():
            if known is not None:
                return known, self._again(known, backward=False)
            for part in parts:
                outcome = self._again(part, backward=True)
                if not outcome.finite:
                    return part, outcome
            return parts[-1], outcome

    def _again(self, part: _Part, backward: bool) -> StepOutcome:
        self._before.restore()
        set_random_state(part.random)
        with torch.set_grad_enabled(backward), self._wrapper.optim_context(self._model):
            return run_step(self._model, part.batch, backward=backward)

    @contextlib.contextmanager
    def _state_kept(self) -> Iterator[None]:
        """Random numbers, buffers and gradients are afterwards what they are now: the step is over, there are none."""
        random, modes = random_state(), [(module, module.training) for module in self._model.modules()]
        try:
            yield
        finally:
            set_random_state(random)
            for module, training in modes:  # some may be frozen, in the mode of evaluation
                module.training = training
            self._before.restore()
            self._model.zero_grad()


class _Undo(Hook):
    """Runs when other hooks have seen the outcome of a step, and before CheckpointHook writes it."""

    priority = 89

    def __init__(self, guard: NonFiniteGuardHook) -> None:
        self._guard = guard

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self._guard.undo()


def _bare(model: nn.Module) -> nn.Module:
    return model.module if is_model_wrapper(model) else model


def _values(gradient: Tensor) -> Tensor:
    """A gradient's numbers; of a sparse one those that it has."""
    return gradient.coalesce().values() if gradient.is_sparse else gradient


def _average(hook: Hook) -> object:
    return getattr(hook, "ema_model", None)


def _config_of(runner: Runner) -> str:
    """What replay is told of the config: the file that MMEngine has written to the work folder, where there is one."""
    name = getattr(runner.cfg, "filename", None)
    path = Path(runner.work_dir) / Path(name).name if name else None
    return str(path) if path and path.is_file() else "--trust"
