"""Checks and reduction shared by the losses, with MMDetection's meaning of ``weight`` and ``avg_factor``."""

from __future__ import annotations

from mmdet.models.losses.utils import weight_reduce_loss
from torch import Tensor

REDUCTIONS = ("none", "mean", "sum")


def check_reduction(reduction: str, argument: str = "reduction") -> str:
    """Check the name of a reduction.

    Args:
        reduction: "none", "mean" or "sum".
        argument: name of the setting, for the message.

    Returns:
        The reduction itself.

    Raises:
        ValueError: for another name; the message lists the valid names.
    """
    if reduction not in REDUCTIONS:
        raise ValueError(f"{argument} is {reduction!r}; it must be one of {', '.join(map(repr, REDUCTIONS))}")
    return reduction


def reduce_rows(
    rows: Tensor,
    weight: Tensor | None,
    reduction: str,
    avg_factor: float | Tensor | None,
    reduction_override: str | None,
) -> Tensor:
    """Weight and reduce one loss per row as MMDetection's losses do.

    Args:
        rows: (N,) losses.
        weight: (N,) or None.
        reduction: the module's own setting.
        avg_factor: divisor of the mean, instead of N.
        reduction_override: replaces ``reduction`` in this call; None for no override.

    Returns:
        A scalar; (N,) if the reduction is "none".

    Raises:
        ValueError: for an unknown override, a weight that does not fit the rows, or ``avg_factor`` with "sum".
    """
    if reduction_override is not None:
        reduction = check_reduction(reduction_override, "reduction_override")
    if weight is not None and weight.shape != rows.shape:
        raise ValueError(
            f"weight has shape {tuple(weight.shape)}; it must hold one weight per row: {tuple(rows.shape)}"
        )
    if avg_factor is not None and reduction == "sum":
        raise ValueError("avg_factor is given with reduction 'sum', which has no divisor; use 'mean'")
    return weight_reduce_loss(rows, weight, reduction, avg_factor)
