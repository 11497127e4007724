"""The module around a loss of rows, with the interface of MMDetection's losses."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from .reduction import check_reduction, reduce_rows


class RowLoss(nn.Module):
    """Base class of losses with one value per row: a subclass defines :meth:`rows`.

    Args:
        reduction: "none", "mean" or "sum" over rows.
        loss_weight: factor of the result.

    Raises:
        ValueError: for an unknown reduction.
    """

    def __init__(self, reduction: str = "mean", loss_weight: float = 1.0) -> None:
        super().__init__()
        self.reduction = check_reduction(reduction)
        self.loss_weight = loss_weight

    def rows(self, pred: Tensor, target: Any) -> Tensor:
        """The loss of each row.

        Args:
            pred: (N, ...) predictions.
            target: N targets.

        Returns:
            (N,) losses, fp32, without ``loss_weight``.

        Raises:
            ValueError: for predictions and targets that do not fit.
        """
        raise NotImplementedError

    def forward(
        self,
        pred: Tensor,
        target: Any,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """Weighted and reduced loss.

        Args:
            pred: see :meth:`rows`.
            target: see :meth:`rows`.
            weight: (N,), or None.
            avg_factor: divisor of the mean, instead of N.
            reduction_override: replaces ``reduction`` in this call.

        Returns:
            A scalar; (N,) if the reduction is "none".

        Raises:
            ValueError: for an invalid target or weight, or an unknown override.
        """
        rows = self.rows(pred, target)
        return self.loss_weight * reduce_rows(rows, weight, self.reduction, avg_factor, reduction_override)
