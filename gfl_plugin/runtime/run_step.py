"""A training step without its optimizer, with all outputs and gradients checked."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from torch import nn

from .non_finite import non_finite, watching_outputs


@dataclass(frozen=True)
class StepOutcome:
    """Result of a training step."""

    losses: dict[str, float]  # by name, with their sum under "loss"
    outputs: list[str]  # names of modules with a non-finite output, in order of computation
    gradients: list[str]  # names of parameters with a non-finite gradient

    @property
    def finite(self) -> bool:
        """Whether all losses and all gradients are finite."""
        return not self.gradients and bool(np.isfinite(list(self.losses.values())).all())

    def as_dict(self) -> dict:
        """Return the fields as a dict, for JSON."""
        return asdict(self)


def run_step(model: nn.Module, batch: Mapping[str, Any], context: Any = None, backward: bool = True) -> StepOutcome:
    """Run forward and backward pass in training mode, and check the outputs of all modules.

    Args:
        model: an MMEngine model without a distributed wrapper.
        batch: as a data loader returns it.
        context: context manager for the forward pass, such as autocast; None for none.
        backward: whether to compute gradients; they stay in the parameters.

    Returns:
        Losses, and the names of non-finite outputs and gradients.
    """
    model.train()
    with watching_outputs(model) as outputs, context or contextlib.nullcontext():
        data = model.data_preprocessor(batch, True)
        total, values = model.parse_losses(model(**data, mode="loss"))
    gradients: Sequence[str] = []
    if backward:
        total.backward()
        gradients = non_finite((name, weight.grad) for name, weight in model.named_parameters())
    return StepOutcome({name: float(value) for name, value in values.items()}, outputs, list(gradients))
