r"""Quality Focal Loss (Li et al., arXiv 2006.04388, Eq. 5).

.. math:: QFL(\sigma) = -|y - \sigma|^\beta \left((1 - y)\log(1 - \sigma) + y\log\sigma\right)

:math:`\sigma` is the sigmoid of a logit, y in [0, 1] its quality target: the IoU for the object's class, 0 otherwise.

Gradients are computed by explicit formulas instead of autograd. They are therefore finite for every finite logit
(autograd would multiply the infinite slope of a power at 0 by zero), and one pass over the logits computes loss and
gradient and keeps only the gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from ..ops.not_compiled import not_compiled
from ..registry import MODELS
from ..structures.class_targets import ClassTargets
from ..structures.ramp import Ramp
from .qfl.qfl_terms import quality_terms
from .quality_loss import QualityLoss, check_exponent
from .quality_targets import Target, dense_quality
from .sparse_quality_loss import sparse_quality_loss


def quality_focal_loss(pred: Tensor, target: Target, beta: float = 2.0, activated: bool = False) -> Tensor:
    """QFL of each row, summed over classes; computed in fp32 whatever the input's dtype.

    Args:
        pred: (N, C) logits, or probabilities if ``activated``.
        target: either ``(label, score)``, (N,) class indices (a label outside [0, C) is background) and (N,)
            qualities; or one (N, C) tensor of qualities. Targets are constants: no gradient flows into them.
        beta: exponent of the modulating factor, >= 0.
        activated: whether ``pred`` holds probabilities.

    Returns:
        (N,) losses, fp32.

    Raises:
        ValueError: for a negative or non-finite beta, a target of another form, or shapes that do not fit.
    """
    _check_beta(beta)
    quality = dense_quality(pred, target)
    if activated:
        return _probability_terms(pred.float(), quality, beta).sum(dim=1)
    return elementwise_quality_focal_loss(pred, quality, beta).sum(dim=1)


def elementwise_quality_focal_loss(logits: Tensor, quality: Tensor, beta: float) -> Tensor:
    """QFL of each element; ``beta`` is not checked.

    Args:
        logits: any shape and float dtype.
        quality: fp32 targets in [0, 1], broadcastable to ``logits``.
        beta: exponent of the modulating factor, >= 0.

    Returns:
        Losses of the shape of ``logits``, fp32.
    """
    return _QualityTerms.apply(logits, quality, beta)


def sparse_quality_focal_loss(
    logits: Sequence[Tensor], targets: ClassTargets, beta: float = 2.0, loss_weight: float = 1.0
) -> Tensor:
    """QFL of the dense logits of a pyramid, with targets for positives only; see :func:`sparse_quality_loss`.

    Args:
        logits: L maps (B, C, H, W) of any float dtype.
        targets: classes and qualities of the positives, weights of locations, and the normalizer.
        beta: exponent of the modulating factor, >= 0.
        loss_weight: factor of the result.

    Returns:
        (L,) ``loss_weight * sum / avg_factor`` of each level, fp32.

    Raises:
        ValueError: for a negative or non-finite beta.
    """
    _check_beta(beta)
    return sparse_quality_loss(logits, targets, beta, partial(_correction, beta), loss_weight)


@MODELS.register_module()
class QualityFocalLoss(QualityLoss):
    """Quality Focal Loss with MMDetection's interface, and the sparse form that the GFL head uses.

    Args:
        use_sigmoid: must be True; the joint score is a sigmoid by definition.
        beta: exponent of the modulating factor, >= 0.
        reduction: "none", "mean" or "sum" over rows.
        loss_weight: factor of the result.
        activated: whether ``pred`` holds probabilities rather than logits.
        warmup: training steps in which the exponent goes linearly from ``first_beta`` to ``beta``; 0 for ``beta`` from
            the first step. Outside of a training it is ``beta``.
        first_beta: exponent in the first step of the warm-up, >= 0; at 0 the loss is the binary cross entropy.

    Raises:
        ValueError: for an invalid setting; the message says what to write instead.
    """

    def __init__(
        self,
        use_sigmoid: bool = True,
        beta: float = 2.0,
        reduction: str = "mean",
        loss_weight: float = 1.0,
        activated: bool = False,
        warmup: int = 0,
        first_beta: float = 0.0,
    ) -> None:
        super().__init__(use_sigmoid, reduction, loss_weight)
        self.beta = _check_beta(beta)
        self.activated = activated
        self.warmup = Ramp(warmup, check_exponent("first_beta", first_beta, "0 is the binary cross entropy"), self.beta)

    def rows(self, pred: Tensor, target: Target) -> Tensor:
        return self._with_beta(quality_focal_loss, pred, target, activated=self.activated)

    def sparse(self, logits: Sequence[Tensor], targets: ClassTargets) -> Tensor:
        return self._with_beta(sparse_quality_focal_loss, logits, targets, loss_weight=self.loss_weight)

    def _with_beta(self, loss: Callable[..., Tensor], *inputs: object, **settings: object) -> Tensor:
        """A loss with the exponent of this training step."""
        if self.warmup.steps:
            return _with_ramp(self.warmup, loss, *inputs, **settings)
        return loss(*inputs, beta=self.beta, **settings)


@not_compiled  # each new exponent would be compiled again
def _with_ramp(beta: Ramp, loss: Callable[..., Tensor], *inputs: object, **settings: object) -> Tensor:
    return loss(*inputs, beta=beta.now(), **settings)


# ---------------------------------------------------------------------------------------------------
# Arithmetic
# ---------------------------------------------------------------------------------------------------


def _correction(beta: float, logit: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
    """See :data:`sparse_quality_loss.Correction`; one call for both, since each operation on few elements is a cost."""
    loss, slope = quality_terms(logit, torch.stack([quality, torch.zeros_like(quality)]), beta)
    return loss[0] - loss[1], slope[0]


class _QualityTerms(torch.autograd.Function):
    """QFL of each element against a dense target, (N, C) -> (N, C) fp32."""

    @staticmethod
    def forward(ctx, logits: Tensor, quality: Tensor, beta: float) -> Tensor:
        loss, gradient = quality_terms(logits.float(), quality, beta)
        ctx.save_for_backward(gradient)
        ctx.dtype = logits.dtype
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return (gradient * grad).to(ctx.dtype), None, None


def _probability_terms(probability: Tensor, quality: Tensor, beta: float) -> Tensor:
    """QFL of each element given probabilities; logarithms are clamped to -100, as in PyTorch's binary cross entropy."""
    cross_entropy = -(quality * _bounded_log(probability) + (1 - quality) * _bounded_log(1 - probability))
    difference = quality - probability
    # The clamp keeps the slope of the power finite at 0 without changing any fp32 value.
    factor = difference.abs().clamp(min=1e-12).pow(beta) if beta else torch.ones_like(difference)
    return factor * cross_entropy


def _bounded_log(value: Tensor) -> Tensor:
    positive = value > 0
    return torch.where(positive, torch.where(positive, value, 1.0).log().clamp(min=-100.0), -100.0)


def _check_beta(beta: float) -> float:
    return check_exponent("beta", beta, "the paper's best is 2")
