r"""The loss of a side that is a Gaussian (He et al., arXiv 1809.08545, Eq. 9-10).

Up to a constant, the negative log likelihood of the true distance, and the KL divergence to it as a Dirac delta:

.. math:: L = e^{-\alpha}\,\tfrac{1}{2}(y - \mu)^2 + \tfrac{1}{2}\alpha, \qquad \alpha = \log\sigma^2

Where :math:`|y - \mu| > 1` the square is :math:`|y - \mu| - \tfrac{1}{2}`, as in a smooth L1 loss.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..registry import MODELS
from .reduction import check_reduction, reduce_rows

# Beyond, e^-α is of no use: a side is never known to e^-5 strides, nor unknown to e^5.
_LARGEST_LOG_VARIANCE = 10.0


def gaussian_nll_loss(pred: Tensor, target: Tensor) -> Tensor:
    """Loss of each Gaussian; computed in fp32 whatever the input's dtype.

    Args:
        pred: (N, 2) mean, and logarithm of the variance (of which only [-10, 10] is told apart).
        target: (N,) distances in the unit of the mean.

    Returns:
        (N,) losses, fp32; negative where a small variance proved right.

    Raises:
        ValueError: for shapes that do not fit.
    """
    if pred.dim() != 2 or pred.shape[1] != 2 or target.shape != pred.shape[:1]:
        raise ValueError(
            f"pred has shape {tuple(pred.shape)} and target {tuple(target.shape)}; they must be (N, 2), mean and log "
            "variance, and (N,)"
        )
    mean, log_variance = pred.float().unbind(dim=1)
    log_variance = log_variance.clamp(-_LARGEST_LOG_VARIANCE, _LARGEST_LOG_VARIANCE)
    distance = torch.nn.functional.smooth_l1_loss(mean, target.detach().float(), reduction="none")
    return (-log_variance).exp() * distance + log_variance / 2


@MODELS.register_module()
class GaussianNLLLoss(nn.Module):
    """The Gaussian's loss with the interface of MMDetection's losses.

    Args:
        reduction: "none", "mean" or "sum" over rows.
        loss_weight: factor of the result.
    """

    def __init__(self, reduction: str = "mean", loss_weight: float = 1.0) -> None:
        super().__init__()
        self.reduction = check_reduction(reduction)
        self.loss_weight = loss_weight

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """See :func:`gaussian_nll_loss`; ``weight`` is (N,) and ``avg_factor`` what the mean divides by."""
        rows = gaussian_nll_loss(pred, target)
        return self.loss_weight * reduce_rows(rows, weight, self.reduction, avg_factor, reduction_override)
