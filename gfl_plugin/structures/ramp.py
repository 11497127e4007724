"""Numbers that change linearly over the first steps of a training."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Real

from mmengine.logging import MessageHub

from ..ops.not_compiled import not_compiled

_STAGE, _STEP = "loop_stage", "iter"  # MMEngine's RuntimeInfoHook sets both, also when a training is resumed


@dataclass(frozen=True)
class Ramp:
    """A number that goes linearly from ``start`` to ``end`` in the first steps of a training, and is ``end`` later on.

    Raises:
        ValueError: if ``steps`` is not a whole number >= 0, or ``start`` is not finite.
    """

    steps: int  # training steps until ``end``; 0 for ``end`` from the beginning
    start: float  # value in the first step
    end: float

    def __post_init__(self) -> None:
        if isinstance(self.steps, bool) or not (isinstance(self.steps, int) and self.steps >= 0):
            raise ValueError(f"warmup is {self.steps!r}; it must be a whole number >= 0 (training steps)")
        if not (isinstance(self.start, Real) and math.isfinite(self.start)):
            raise ValueError(f"the value at the start of the warm-up is {self.start!r}; it must be a finite number")

    def at(self, step: int | None) -> float:
        """The value in a training step.

        Args:
            step: counted from 0; None for no training.

        Returns:
            A number between ``start`` and ``end``; exactly ``end`` from ``steps`` on, and outside of a training.
        """
        if step is None or step >= self.steps:
            return self.end
        return self.start + (self.end - self.start) * (step / self.steps)

    def now(self) -> float:
        """The value in the current training step; see :func:`current_step`.

        Returns:
            As :meth:`at`.
        """
        return self.at(current_step()) if self.steps else self.end


@not_compiled  # the step is a constant for a compiled function, which would be compiled again in each step
def current_step() -> int | None:
    """The step of the training that runs in this process.

    Returns:
        The number of steps before it, as MMEngine's RuntimeInfoHook publishes it; None outside of training loops, such
        as in validation and where losses are computed without a runner.
    """
    hub = MessageHub.get_current_instance()
    return hub.get_info(_STEP) if hub.get_info(_STAGE) == "train" else None


@contextlib.contextmanager
def at_training_step(step: int) -> Iterator[None]:
    """Within the context, :func:`current_step` is the given step, as if a training were running.

    Args:
        step: counted from 0.

    Yields:
        Nothing.
    """
    hub = MessageHub.get_current_instance()
    before = {name: hub.get_info(name) for name in (_STAGE, _STEP)}
    hub.update_info_dict({_STAGE: "train", _STEP: step})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                hub.pop_info(name)
            else:
                hub.update_info(name, value)
