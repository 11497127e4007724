"""Finds the batch that made an optimizer step non-finite, and writes it to a file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import nn

from ..runtime.errors import in_a_line
from ..runtime.non_finite import named_tensors, non_finite
from ..runtime.plain_batch import plain_batch
from ..runtime.run_step import StepOutcome, run_step
from ..runtime.snapshot import Snapshot
from ..runtime.step_record import StepRecord, random_state, set_random_state
from ..structures.ramp import at_training_step


@dataclass
class StepBatch:
    """One batch of an optimizer step; with gradient accumulation a step has several."""

    batch: Any  # as the data loader returned it
    epoch: int  # from 0
    iteration: int  # from 0
    random: dict[str, Any]  # state of the random number generators before the batch
    losses: list[str] = field(default_factory=list)  # names of non-finite losses


class NonFiniteRecorder:
    """Writes a step record for a skipped optimizer step.

    Args:
        model: without its distributed wrapper.
        wrapper: the optimizer wrapper, whose context (autocast) the forward pass runs in.
        max_records: files written at most.
        records: files written so far; new ones are appended.
    """

    def __init__(self, model: nn.Module, wrapper: OptimWrapper, max_records: int, records: list[Path]) -> None:
        self._model, self._wrapper, self._max_records, self._records = model, wrapper, max_records, records

    def try_record(self, runner: Runner, batches: Sequence[StepBatch], gradients: list[str], before: Snapshot) -> str:
        """Write a record; if that fails, training continues.

        Args:
            runner: of the training.
            batches: of the skipped step.
            gradients: names of parameters with a non-finite gradient.
            before: buffers before the step.

        Returns:
            The end of a log message: where the record is, or why there is none.
        """
        if len(self._records) >= self._max_records:
            return f" (no further record: max_records={self._max_records})"
        if hasattr(runner.model, "sharding_strategy"):  # FSDP
            return " (no record: weights are sharded over processes)"
        try:
            return self._record(runner, batches, gradients, before)
        except Exception as error:  # a full disk, an unusable folder, a batch of an unknown type
            return f" (no record, it could not be written: {in_a_line(error)})"

    def _record(self, runner: Runner, batches: Sequence[StepBatch], gradients: list[str], before: Snapshot) -> str:
        one, outcome = self._non_finite_batch(batches, before)
        plain = plain_batch(one.batch)
        record = StepRecord(
            config=runner.cfg.pretty_text,
            epoch=one.epoch,
            iteration=one.iteration,
            state_dict={name: value.detach().cpu().clone() for name, value in self._model.state_dict().items()},
            random_state=one.random,
            batch=plain,
            inputs=non_finite(named_tensors(plain)),
            losses=one.losses,
            gradients=gradients,
            outputs=outcome.outputs if outcome else [],
        )
        path = Path(runner.work_dir) / "non_finite" / f"iter_{one.iteration + 1}_rank_{get_rank()}.pth"
        record.save(path)
        self._records.append(path)
        first = f", first in the output of {record.outputs[0]}" if record.outputs else ""
        return f"{first}; run it again with: gfl-plugin replay {path} {_config_argument(runner)}"

    def _non_finite_batch(self, batches: Sequence[StepBatch], before: Snapshot) -> tuple[StepBatch, StepOutcome | None]:
        """Find the batch with non-finite values, and run it again.

        With several processes nothing is run again, since the other processes would have to take part. With several
        batches whose losses are all finite, it is the first batch whose own gradients are not.
        """
        known = next((one for one in batches if one.losses), batches[-1] if len(batches) == 1 else None)
        if get_world_size() > 1:
            return known or batches[-1], None
        with self._state_kept(before):
            if known is not None:
                return known, self._run_again(known, before, backward=False)
            for one in batches:
                outcome = self._run_again(one, before, backward=True)
                if not outcome.finite:
                    return one, outcome
            return batches[-1], outcome

    def _run_again(self, one: StepBatch, before: Snapshot, backward: bool) -> StepOutcome:
        before.restore()
        set_random_state(one.random)
        context = self._wrapper.optim_context(self._model)
        with torch.set_grad_enabled(backward), context, at_training_step(one.iteration):
            return run_step(self._model, one.batch, backward=backward)

    @contextlib.contextmanager
    def _state_kept(self, before: Snapshot) -> Iterator[None]:
        """Restore random numbers, modes and buffers afterwards, and clear gradients: the step is over."""
        random, modes = random_state(), [(module, module.training) for module in self._model.modules()]
        try:
            yield
        finally:
            set_random_state(random)
            for module, training in modes:  # frozen modules may be in evaluation mode
                module.training = training
            before.restore()
            self._model.zero_grad()


def _config_argument(runner: Runner) -> str:
    """The config argument of the replay command: the file that MMEngine has written to the work folder, if any."""
    name = getattr(runner.cfg, "filename", None)
    path = Path(runner.work_dir) / Path(name).name if name else None
    return str(path) if path and path.is_file() else "--trust"
