r"""Loss of a distance that is predicted as a Gaussian (He et al., arXiv 1809.08545, Eq. 9-10).

Up to a constant, it is the negative log-likelihood of the true distance, which is also the KL divergence between a
Dirac delta at the true distance and the Gaussian:

.. math:: L = e^{-\alpha}\,\tfrac{1}{2}(y - \mu)^2 + \tfrac{1}{2}\alpha, \qquad \alpha = \log\sigma^2

If :math:`|y - \mu| > 1`, half the square is replaced by :math:`|y - \mu| - \tfrac{1}{2}`, as in a smooth L1 loss.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..registry import MODELS
from .row_loss import RowLoss

# Limits of α: standard deviations below e^-5 or above e^5 strides do not occur, and e^-α would overflow.
LARGEST_LOG_VARIANCE = 10.0


def gaussian_nll_loss(pred: Tensor, target: Tensor) -> Tensor:
    """Loss of each Gaussian; computed in fp32 whatever the input's dtype.

    Args:
        pred: (N, 2), mean and logarithm of the variance; the latter is clamped to [-10, 10].
        target: (N,) distances in the unit of the mean.

    Returns:
        (N,) losses, fp32; negative for a small variance and a small error.

    Raises:
        ValueError: for shapes that do not fit.
    """
    if pred.dim() != 2 or pred.shape[1] != 2 or target.shape != pred.shape[:1]:
        raise ValueError(
            f"pred has shape {tuple(pred.shape)} and target {tuple(target.shape)}; they must be (N, 2), mean and log "
            "variance, and (N,)"
        )
    mean, log_variance = pred.float().unbind(dim=1)
    log_variance = log_variance.clamp(-LARGEST_LOG_VARIANCE, LARGEST_LOG_VARIANCE)
    distance = torch.nn.functional.smooth_l1_loss(mean, target.detach().float(), reduction="none")
    return (-log_variance).exp() * distance + log_variance / 2


@MODELS.register_module()
class GaussianNLLLoss(RowLoss):
    """Gaussian negative log-likelihood with the interface of MMDetection's losses.

    Args:
        reduction: "none", "mean" or "sum" over rows.
        loss_weight: factor of the result.

    Raises:
        ValueError: for an unknown reduction.
    """

    def rows(self, pred: Tensor, target: Tensor) -> Tensor:
        """The loss of each row; see :func:`gaussian_nll_loss`.

        Args:
            pred: (N, 2), mean and logarithm of the variance.
            target: (N,) distances in the unit of the mean.

        Returns:
            (N,) losses, fp32.

        Raises:
            ValueError: for shapes that do not fit.
        """
        return gaussian_nll_loss(pred, target)
