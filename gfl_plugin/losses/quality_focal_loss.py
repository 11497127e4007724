r"""Quality Focal Loss (Li et al., arXiv 2006.04388, Eq. 5).

.. math:: QFL(\sigma) = -|y - \sigma|^\beta \left((1 - y)\log(1 - \sigma) + y\log\sigma\right)

:math:`\sigma` is the sigmoid of a logit, y in [0, 1] its quality target: the IoU for the object's class, 0 otherwise.

Gradients are computed by explicit formulas instead of autograd. They are therefore finite for every finite logit
(autograd would multiply the infinite slope of a power at 0 by zero), and one pass over the logits computes loss and
gradient and keeps only the gradient.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..ops.host_values import on_host
from ..registry import MODELS
from ..structures.class_targets import ClassTargets
from .qfl import Negatives, sweep_negatives
from .qfl.qfl_terms import quality_terms
from .reduction import check_reduction, reduce_rows

Target = Tensor | Sequence[Tensor]


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
    quality = _dense_target(pred, target)
    if activated:
        return _probability_terms(pred.float(), quality, beta).sum(dim=1)
    return _QualityTerms.apply(pred, quality, beta).sum(dim=1)


def sparse_quality_focal_loss(
    logits: Sequence[Tensor], targets: ClassTargets, beta: float = 2.0, loss_weight: float = 1.0
) -> Tensor:
    """QFL of the dense logits of a pyramid, with targets for positives only.

    Every element is first treated as a negative (y = 0) in one pass over the logits in their (B, C, H, W) layout; the
    few elements with an object are then corrected. The pass computes loss and gradient, and only the gradient is kept.

    Args:
        logits: L maps (B, C, H, W) of any float dtype.
        targets: classes and qualities of the positives, weights of locations, and the normalizer.
        beta: exponent of the modulating factor, >= 0.
        loss_weight: factor of the result. It is applied inside, which saves a pass over the gradient.

    Returns:
        (L,) ``loss_weight * sum / avg_factor`` of each level, fp32.

    Raises:
        ValueError: for a negative or non-finite beta.
    """
    _check_beta(beta)
    # The epsilon is the one that MMDetection's weight_reduce_loss adds.
    scale = loss_weight / (targets.avg_factor + torch.finfo(torch.float32).eps)
    if not torch.is_grad_enabled():
        logits = [level.detach() for level in logits]  # else an unused gradient would be computed
    return _SparseQuality.apply(targets, scale, beta, *logits)


@MODELS.register_module()
class QualityFocalLoss(nn.Module):
    """Quality Focal Loss with MMDetection's interface, and the sparse form that the GFL head uses.

    Args:
        use_sigmoid: must be True; the joint score is a sigmoid by definition.
        beta: exponent of the modulating factor, >= 0.
        reduction: "none", "mean" or "sum" over rows.
        loss_weight: factor of the result.
        activated: whether ``pred`` holds probabilities rather than logits.

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
    ) -> None:
        super().__init__()
        if use_sigmoid is not True:
            raise ValueError(
                f"QualityFocalLoss has use_sigmoid={use_sigmoid!r}; the joint score is a sigmoid, so write "
                "use_sigmoid=True (and activated=True where the model already returns probabilities)"
            )
        self.use_sigmoid = use_sigmoid
        self.beta = _check_beta(beta)
        self.reduction = check_reduction(reduction)
        self.loss_weight = loss_weight
        self.activated = activated

    def forward(
        self,
        pred: Tensor,
        target: Target,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """Weighted and reduced loss; see :func:`quality_focal_loss`.

        Args:
            pred: (N, C) logits, or probabilities if ``activated``.
            target: ``(label, score)`` or (N, C) qualities.
            weight: (N,), or None.
            avg_factor: divisor of the mean, instead of N.
            reduction_override: replaces ``reduction`` in this call.

        Returns:
            A scalar; (N,) if the reduction is "none".

        Raises:
            ValueError: for an invalid target, weight or override.
        """
        rows = quality_focal_loss(pred, target, self.beta, self.activated)
        return self.loss_weight * reduce_rows(rows, weight, self.reduction, avg_factor, reduction_override)

    def sparse(self, logits: Sequence[Tensor], targets: ClassTargets) -> Tensor:
        """QFL of the dense logits of a pyramid; see :func:`sparse_quality_focal_loss`.

        Args:
            logits: L maps (B, C, H, W) of any float dtype.
            targets: classes and qualities of the positives, weights of locations, and the normalizer.

        Returns:
            (L,) loss of each level, fp32, with this module's ``beta`` and ``loss_weight``.
        """
        return sparse_quality_focal_loss(logits, targets, self.beta, self.loss_weight)


# ---------------------------------------------------------------------------------------------------
# Arithmetic
# ---------------------------------------------------------------------------------------------------


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


class _SparseQuality(torch.autograd.Function):
    """See :func:`sparse_quality_focal_loss`."""

    @staticmethod
    def forward(ctx, targets: ClassTargets, scale: Tensor, beta: float, *logits: Tensor) -> Tensor:
        positives, quality, weights = targets.positives, targets.quality, targets.weights
        wanted = [level.requires_grad for level in logits]
        logits = [level.contiguous() for level in logits]
        sums, gradients = sweep_negatives(Negatives(logits, wanted, scale, beta, weights))

        shapes = [level.shape for level in logits]
        elements = positives.elements(shapes, targets.label)
        value = torch.cat(
            [level.view(-1)[index] for level, index in zip(logits, positives.per_level(elements))]
        ).float()
        row_weight = torch.where(positives.active, scale, 0.0)
        if weights is not None:
            locations = positives.per_level(
                positives.elements([(*weight.shape[:1], 1, *weight.shape[1:]) for weight in weights])
            )
            row_weight = row_weight * torch.cat([w.view(-1)[index] for w, index in zip(weights, locations)])
        # Terms of the same elements with their quality targets, and as negatives, which the pass has added.
        loss, slope = quality_terms(value, torch.stack([quality, torch.zeros_like(quality)]), beta)
        changes = positives.level_sums((loss[0] - loss[1]) * row_weight)
        written = positives.per_level(positives.targets(elements, shapes))
        for gradient, index, rows in zip(gradients, written, positives.per_level(slope[0] * row_weight)):
            if gradient is not None:
                gradient[index] = rows.to(gradient.dtype)
        gradients = [
            None if gradient is None else gradient[:-1].view(level.shape) for gradient, level in zip(gradients, logits)
        ]
        ctx.save_for_backward(*gradients)
        ctx.dtypes = [level.dtype for level in logits]
        return sums + changes

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        # Reading scalars is free on a CPU; on a GPU it would synchronize.
        factors = grad.tolist() if on_host(grad) else grad.unbind()
        gradients = [
            None if gradient is None else _scaled(gradient, factor).to(dtype)
            for gradient, factor, dtype in zip(ctx.saved_tensors, factors, ctx.dtypes)
        ]
        return (None, None, None, *gradients)


def _scaled(gradient: Tensor, factor: float | Tensor) -> Tensor:
    return gradient if isinstance(factor, float) and factor == 1.0 else gradient * factor


# ---------------------------------------------------------------------------------------------------
# Checks
# ---------------------------------------------------------------------------------------------------


def _check_beta(beta: float) -> float:
    """The exponent as a float; ValueError if it is not finite and >= 0."""
    if not (isinstance(beta, (int, float)) and 0 <= beta < float("inf")):
        raise ValueError(f"beta is {beta!r}; it must be a finite number >= 0 (the paper's best is 2)")
    return float(beta)


def _dense_target(pred: Tensor, target: Target) -> Tensor:
    """Either target form as (N, C) qualities, fp32."""
    if pred.dim() != 2:
        raise ValueError(f"pred has shape {tuple(pred.shape)}; QFL takes (N, C), one row per location")
    if isinstance(target, Tensor):
        if target.dim() == 1:
            raise ValueError(
                f"target has shape {tuple(target.shape)}: the head gives its class loss labels alone, and QFL "
                "needs the quality of each box, too. Use gfl_plugin.GFLHead, or in RetinaNet, FCOS, FoveaBox and SSD "
                "gfl_plugin.RetinaQFLHead, FCOSQFLHead, FoveaQFLHead, SSDQFLHead (gfl-plugin swap writes such "
                "configs). DETR-like heads give a quality to mmdet.QualityFocalLoss only; other heads keep their own "
                "loss_cls. In your own code, give the tuple (label, score)"
            )
        if target.shape != pred.shape:
            raise ValueError(
                f"target has shape {tuple(target.shape)}; a dense target must have pred's: {tuple(pred.shape)}. "
                "For one class and quality per row, give the tuple (label, score)"
            )
        return target.detach().float()
    if not (isinstance(target, (tuple, list)) and len(target) == 2 and all(isinstance(t, Tensor) for t in target)):
        raise ValueError(
            f"target is {_describe(target)}; QFL takes the tuple (label, score) of two (N,) tensors, "
            "or one (N, C) tensor of qualities"
        )
    label, score = target
    rows = (len(pred),)
    if label.shape != rows or score.shape != rows:
        raise ValueError(
            f"label and score have shapes {tuple(label.shape)} and {tuple(score.shape)}; both must be {rows}, "
            f"one entry per row of pred {tuple(pred.shape)}"
        )
    classes = pred.shape[1]
    foreground = (label >= 0) & (label < classes)
    quality = torch.zeros(pred.shape, device=pred.device)
    index = torch.where(foreground, label, 0).long()[:, None]
    value = torch.where(foreground, score.detach().float(), 0.0)[:, None]
    return quality.scatter_(1, index, value)


def _describe(target: object) -> str:
    if isinstance(target, (tuple, list)):
        return f"a {type(target).__name__} of {len(target)}"
    return f"a {type(target).__name__}"
