"""Keeps what is not finite out of the weights."""

from __future__ import annotations

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
from ..runtime.step_record import (
    NonFiniteError,
    StepRecord,
    named_tensors,
    non_finite,
    plain_batch,
    random_state,
    run_step,
    set_random_state,
)


@HOOKS.register_module()
class NonFiniteGuardHook(Hook):
    """Stops an optimizer step whose loss or gradients are not finite, and keeps a record of it.

    The step is not done: weights and the optimizer's state stay, buffers (batch norm's statistics) return to what they
    were, and in the logs ``train/skipped_steps`` counts. The batch, the state before the step and the names of what was
    not finite go to ``<work_dir>/non_finite/iter_<n>_rank_<r>.pth``, which ``tools/replay.py`` runs again. Of several
    processes all skip when one has to. A checkpoint that holds a number that is not finite is not written.

    With a gradient scaler (fp16) only losses are judged: gradients that overflow are the scaler's business, which skips
    them itself. Of weights sharded over processes (FSDP) no record is written. The check reads all gradients once
    and makes the host wait for a GPU once a step.

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
        self._finite_loss: Tensor | None = None  # of the batches since the last step
        self._fault: list[str] | None = None  # gradients of the step just skipped
        self._buffers: dict[str, Tensor] = {}
        self._random: dict[str, Any] = {}
        self._plain: tuple | None = None

    # -----------------------------------------------------------------------------------------------
    # Before the step
    # -----------------------------------------------------------------------------------------------

    def before_train(self, runner: Runner) -> None:
        wrapper = runner.optim_wrapper
        if not isinstance(wrapper, OptimWrapper):
            raise ValueError(f"NonFiniteGuardHook knows one optimizer; optim_wrapper is a {type(wrapper).__name__}")
        self._model = _bare(runner.model)
        self._wrapper, self._plain = wrapper, (wrapper.backward, wrapper.step)
        wrapper.backward, wrapper.step = self._backward, self._step
        runner.register_hook(_CheckpointGuard())

    def after_train(self, runner: Runner) -> None:
        self._wrapper.backward, self._wrapper.step = self._plain

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        self._buffers = {name: value.clone() for name, value in self._model.named_buffers()}
        self._random = random_state()

    def _backward(self, loss: Tensor, **kwargs: Any) -> None:
        finite = loss.detach().isfinite().all()
        self._finite_loss = finite if self._finite_loss is None else self._finite_loss & finite
        self._plain[0](loss, **kwargs)

    def _step(self, **kwargs: Any) -> None:
        finite, self._finite_loss = self._finite_loss, None
        if finite is None:  # a step without a backward pass of ours
            finite = torch.ones((), dtype=torch.bool, device=next(self._model.parameters()).device)
        scaler = getattr(self._wrapper, "loss_scaler", None)
        if scaler is None or not scaler.is_enabled():
            largest = [torch.linalg.vector_norm(p.grad, float("inf")) for p in self._weights()]
            if largest:
                finite = finite & torch.stack(largest).isfinite().all()
        fault = (~finite).to(torch.float32)
        all_reduce(fault, "max")
        if fault.item() == 0:
            self._in_a_row = 0
            self._plain[1](**kwargs)
            return
        self._fault = non_finite((name, p.grad) for name, p in self._model.named_parameters())
        self._restore_buffers()

    @torch.no_grad()
    def _restore_buffers(self) -> None:
        for name, value in self._model.named_buffers():
            value.copy_(self._buffers[name])

    def _weights(self) -> list[nn.Parameter]:
        every = (p for group in self._wrapper.optimizer.param_groups for p in group["params"])
        return [p for p in every if p.grad is not None and p.grad.numel()]  # a shard may be empty

    # -----------------------------------------------------------------------------------------------
    # After a step that was not done
    # -----------------------------------------------------------------------------------------------

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        if self._fault is None:
            return
        gradients, self._fault = self._fault, None
        losses = non_finite((outputs or {}).items())
        for name in losses:
            outputs.pop(name)  # or the logs' averages would be nothing but NaN for a while
        self.skipped += 1
        self._in_a_row += 1
        runner.message_hub.update_scalar("train/skipped_steps", self.skipped)
        # Where every loss is finite, nobody knows whose gradients were not.
        written = self._record(runner, data_batch, losses, gradients) if losses or gradients else ""
        what = _listed("losses", losses) if losses else _listed("gradients", gradients)
        text = f"step {runner.iter + 1} was not done: {what or 'another process has a number that'} is not finite"
        text += written
        if self.action == "stop" or self._in_a_row >= self.patience:
            why = "" if self.action == "stop" else f"; {self._in_a_row} steps in a row were not done"
            raise NonFiniteError(f"{text}{why}. The last checkpoint is sound; weights are as before this step")
        runner.logger.warning(text)

    def _record(self, runner: Runner, batch: Any, losses: list[str], gradients: list[str]) -> str:
        """Write what the step was, and say where."""
        if len(self.records) >= self.max_records:
            return f" (no further record: max_records={self.max_records})"
        if hasattr(runner.model, "sharding_strategy"):  # FSDP's
            return " (no record: its weights are spread over the processes)"
        state = {name: value.detach().cpu().clone() for name, value in self._model.state_dict().items()}
        plain = plain_batch(batch)
        record = StepRecord(
            config=runner.cfg.pretty_text,
            epoch=runner.epoch,
            iteration=runner.iter,
            state_dict=state,
            random_state=self._random,
            batch=plain,
            inputs=non_finite(named_tensors(plain)),
            losses=losses,
            gradients=gradients,
            outputs=self._first_outputs(batch),
        )
        path = Path(runner.work_dir) / "non_finite" / f"iter_{runner.iter + 1}_rank_{get_rank()}.pth"
        record.save(path)
        self.records.append(path)
        first = f", first in the output of {record.outputs[0]}" if record.outputs else ""
        return f"{first}; python tools/replay.py {path} runs it again"

    def _first_outputs(self, batch: Any) -> list[str]:
        """Modules whose output was not finite; only in a process of its own, or others would have to take part."""
        if get_world_size() > 1:
            return []
        before = random_state()
        set_random_state(self._random)
        with torch.no_grad(), self._wrapper.optim_context(self._model):
            outcome = run_step(self._model, batch, backward=False)
            self._restore_buffers()
        set_random_state(before)
        return outcome.outputs


class _CheckpointGuard(Hook):
    """Looks at a checkpoint when every other hook, the moving average's among them, has changed what it wants."""

    priority = "LOWEST"

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        parts = {key: checkpoint[key] for key in ("state_dict", "ema_state_dict", "optimizer") if key in checkpoint}
        found = non_finite(named_tensors(parts))
        if found:
            raise NonFiniteError(
                f"no checkpoint is written: {_listed('tensors', found)} is not finite. The one before is sound; lower "
                "the learning rate, or clip gradients (optim_wrapper.clip_grad)"
            )


def _bare(model: nn.Module) -> nn.Module:
    return model.module if is_model_wrapper(model) else model


def _listed(kind: str, names: list[str]) -> str:
    """``a, b, c and 4 more losses``, shortened."""
    if not names:
        return ""
    more = f" and {len(names) - 3} more {kind}" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
