r"""Distribution Focal Loss (Li et al., arXiv 2006.04388, Eq. 6).

.. math:: DFL(P) = -\frac{(y_{i+1} - y)\log P(y_i) + (y - y_i)\log P(y_{i+1})}{\Delta},
   \qquad y_i \le y \le y_{i+1} = y_i + \Delta

P is the softmax over the bins :math:`y_0, y_0 + \Delta, \dots, y_0 + n\Delta`.

For bins with other steps, :math:`\Delta` is :math:`y_{i+1} - y_i`, so that only the position of y between its two
neighbors counts: ``distribution_focal_loss(logits, fractional_index(distance, bins))``, see ``ops.fractional_index``.
Inside GFLHead, the box coder's ``position`` does this.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..ops.backend import Kernels
from ..ops.host_values import on_host
from ..registry import MODELS
from .row_loss import RowLoss


def distribution_focal_loss(logits: Tensor, target: Tensor, first: float = 0.0, step: float = 1.0) -> Tensor:
    """DFL of each distribution; computed in fp32 whatever the input's dtype.

    Args:
        logits: (N, n + 1), one logit per bin.
        target: (N,) distances in the unit of the bins, in [first, first + n·step]; for bins with other steps, leave
            ``first`` and ``step`` out and give fractional indices of bins, in [0, n]. Beyond both ends by no more than
            rounding in fp32, a target counts as on the end.
        first: y_0, the first bin.
        step: Δ, the bins' spacing, > 0.

    Returns:
        (N,) losses, fp32. On a GPU the loss of a target outside the bins is NaN, because a check would
        synchronize.

    Raises:
        ValueError: for shapes that do not fit, a step <= 0, a first bin that is not finite, or, on a CPU, a target
            outside the bins.
    """
    if logits.dim() != 2 or logits.shape[1] < 2:
        raise ValueError(f"logits have shape {tuple(logits.shape)}; DFL takes (N, n + 1) with n >= 1")
    if target.shape != logits.shape[:1]:
        raise ValueError(
            f"target has shape {tuple(target.shape)}; it must hold one distance per row of logits: ({len(logits)},)"
        )
    _check_bins(first, step)
    n = logits.shape[1] - 1
    position = (target.detach().float() - first) / step
    # Rounding of the target, of the bins and of their difference, eight times by half of eps.
    slack = 4 * torch.finfo(torch.float32).eps * (n + abs(first) / step)
    inside = (position >= -slack) & (position <= n + slack)
    position = position.clamp(min=0, max=n)
    if not on_host(position):
        position = torch.where(inside, position, float("nan"))
    elif not bool(inside.all()):
        raise ValueError(
            f"{int((~inside).sum())} of {len(target)} targets lie outside the bins [{first:g}, {first + n * step:g}] "
            f"(the first: {target[~inside][0].item():g}); clamp them, or raise reg_max"
        )
    return _ROWS.for_tensor(logits)(logits, position)


def _rows(logits: Tensor, position: Tensor) -> Tensor:
    """DFL of each row in PyTorch operations, NaN for a position that is NaN."""
    n = logits.shape[1] - 1
    left = position.long().clamp(min=0, max=n - 1)[:, None]
    right_weight = position[:, None] - left
    log_probability = logits.float().log_softmax(dim=1).gather(1, torch.cat([left, left + 1], dim=1))
    return -(log_probability * torch.cat([1 - right_weight, right_weight], dim=1)).sum(dim=1)


_ROWS = Kernels(torch=_rows, numba="gfl_plugin.losses.distribution_focal_loss_numba:rows")


@MODELS.register_module()
class DistributionFocalLoss(RowLoss):
    """Distribution Focal Loss with MMDetection's interface.

    Args:
        reduction: "none", "mean" or "sum" over rows.
        loss_weight: factor of the result.
        first: y_0, the first bin.
        step: Δ, the bins' spacing, > 0.

    Raises:
        ValueError: for an unknown reduction, a step <= 0, or a first bin that is not finite.
    """

    def __init__(
        self, reduction: str = "mean", loss_weight: float = 1.0, first: float = 0.0, step: float = 1.0
    ) -> None:
        super().__init__(reduction, loss_weight)
        _check_bins(first, step)
        self.first = first
        self.step = step

    def rows(self, pred: Tensor, target: Tensor) -> Tensor:
        """The loss of each row; see :func:`distribution_focal_loss`.

        Args:
            pred: (N, n + 1) logits.
            target: (N,) distances in the unit of the bins.

        Returns:
            (N,) losses, fp32.

        Raises:
            ValueError: for shapes that do not fit, or a target outside the bins on a CPU.
        """
        return distribution_focal_loss(pred, target, self.first, self.step)


def _check_bins(first: float, step: float) -> None:
    if not step > 0:
        raise ValueError(f"step is {step!r}; the bins' spacing must be > 0")
    if not abs(first) < float("inf"):
        raise ValueError(f"first is {first!r}; the first bin must be finite")
