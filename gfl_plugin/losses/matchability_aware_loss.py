r"""Matchability-aware loss (Huang et al., "DEIM", arXiv 2412.04234, Section 3.3).

.. math:: MAL(p, q) = \begin{cases}
    -q^\gamma \log p - (1 - q^\gamma) \log(1 - p) & \text{at the class of an object} \\
    -p^\gamma \log(1 - p) & \text{elsewhere} \end{cases}

p is the sigmoid of a logit, q in [0, 1] the quality of the box, the IoU. Unlike QFL's, the loss of a positive has no
factor that makes it small near its target, and its target :math:`q^\gamma` is below q for :math:`\gamma > 1`.

The loss elsewhere is QFL's with :math:`\beta = \gamma` and y = 0. As there, the gradient includes that of
:math:`p^\gamma`, which the authors' code takes as a constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ..registry import MODELS
from ..structures.class_targets import ClassTargets
from .qfl.qfl_terms import quality_terms
from .quality_focal_loss import elementwise_quality_focal_loss
from .quality_loss import QualityLoss, check_exponent
from .quality_targets import Target, dense_quality, is_positive
from .sparse_quality_loss import sparse_quality_loss


def matchability_aware_loss(pred: Tensor, target: Target, gamma: float = 1.5) -> Tensor:
    """MAL of each row, summed over classes; computed in fp32 whatever the input's dtype.

    Args:
        pred: (N, C) logits.
        target: either ``(label, score)``, (N,) class indices (a label outside [0, C) is background) and (N,)
            qualities; or one (N, C) tensor of qualities, where 0 means background. Targets are constants: no gradient
            flows into them.
        gamma: exponent of qualities and of the scores of negatives, >= 0.

    Returns:
        (N,) losses, fp32.

    Raises:
        ValueError: for a negative or non-finite gamma, a target of another form, or shapes that do not fit.
    """
    _check_gamma(gamma)
    quality = dense_quality(pred, target)
    negative = elementwise_quality_focal_loss(pred, torch.zeros_like(quality), gamma)
    return torch.where(is_positive(pred, target), _cross_entropy(pred.float(), quality.pow(gamma)), negative).sum(dim=1)


@MODELS.register_module()
class MatchabilityAwareLoss(QualityLoss):
    """DEIM's matchability-aware loss, in place of a QualityFocalLoss.

    Args:
        use_sigmoid: must be True; the joint score is a sigmoid by definition.
        gamma: exponent of qualities and of the scores of negatives, >= 0.
        reduction: "none", "mean" or "sum" over rows.
        loss_weight: factor of the result.

    Raises:
        ValueError: for an invalid setting; the message says what to write instead.
    """

    def __init__(
        self, use_sigmoid: bool = True, gamma: float = 1.5, reduction: str = "mean", loss_weight: float = 1.0
    ) -> None:
        super().__init__(use_sigmoid, reduction, loss_weight)
        self.gamma = _check_gamma(gamma)

    def rows(self, pred: Tensor, target: Target) -> Tensor:
        return matchability_aware_loss(pred, target, self.gamma)

    def sparse(self, logits: Sequence[Tensor], targets: ClassTargets) -> Tensor:
        correction = partial(_correction, self.gamma)
        return sparse_quality_loss(logits, targets, self.gamma, correction, self.loss_weight)


def _cross_entropy(logit: Tensor, target: Tensor) -> Tensor:
    """Binary cross entropy of each element; a sum of two terms >= 0, so that no digits cancel at large logits."""
    return target * softplus(-logit) + (1 - target) * softplus(logit)


def _correction(gamma: float, logit: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
    """See :data:`sparse_quality_loss.Correction`."""
    target = quality.pow(gamma)
    as_negative, _ = quality_terms(logit, torch.zeros_like(quality), gamma)
    return _cross_entropy(logit, target) - as_negative, logit.sigmoid() - target


def _check_gamma(gamma: float) -> float:
    return check_exponent("gamma", gamma, "the paper's is 1.5")
