r"""Quality Focal Loss (Li et al., arXiv 2006.04388, Eq. 5).

.. math:: QFL(\sigma) = -|y - \sigma|^\beta \left((1 - y)\log(1 - \sigma) + y\log\sigma\right)

:math:`\sigma` is the sigmoid of a logit, y in [0, 1] its quality target: the IoU at the object's class, 0 elsewhere.

Gradients are written out rather than left to autograd. That makes them finite wherever the logit is (a power of a
vanishing difference has an infinite slope that autograd multiplies by zero), and lets loss and gradient come out of
one pass over the logits, of which only the gradient is kept.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from typing import Union

import torch
from torch import Tensor, nn

from ..memory import zeros
from ..registry import MODELS
from ..targets import Positives
from .reduction import check_reduction, reduce_rows

Target = Union[Tensor, Sequence[Tensor]]
Bounds = Sequence[Sequence[int]]

# Above this logit, softplus is the logit itself in fp32.
_SATURATED = 30.0
# Elements worked on at a time on a CPU, so that the buffers stay in its cache between operations.
_CHUNK = 1 << 17


def quality_focal_loss(pred: Tensor, target: Target, beta: float = 2.0, activated: bool = False) -> Tensor:
    """QFL of each row, summed over classes; computed in fp32 whatever the input's dtype.

    Args:
        pred: (N, C) logits, or probabilities where ``activated``.
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
    logits: Sequence[Tensor],
    positives: Positives,
    label: Tensor,
    quality: Tensor,
    scale: Tensor,
    beta: float = 2.0,
    weights: Sequence[Tensor] | None = None,
    bounds: Sequence[Bounds] | None = None,
) -> Tensor:
    """QFL over the dense logits of a pyramid, with targets given only where there is an object.

    Every element counts as a negative (y = 0) in one pass over the logits where they lie; the few elements with an
    object are then corrected. Loss and gradient come out of that pass, and only the gradient is kept.

    Args:
        logits: L maps (B, C, H, W) of any float dtype.
        positives: the locations with an object.
        label: (P,) class of each positive, int64.
        quality: (P,) target of each positive, fp32.
        scale: a scalar tensor the sums are multiplied by. Giving it here rather than multiplying afterwards saves a
            pass over the gradient.
        beta: exponent of the modulating factor, >= 0.
        weights: L maps (B, H, W) fp32 of weights of locations, or None for 1 everywhere.
        bounds: for each level the part of it that belongs to each image, (first column, end column, first row, end
            row); what lies outside has no loss. None for whole levels. Positives lie inside.

    Returns:
        (L,) ``scale * sum`` of each level, fp32.
    """
    _check_beta(beta)
    if not torch.is_grad_enabled():
        logits = [level.detach() for level in logits]  # or a gradient nobody asks for would be computed
    return _SparseQuality.apply(positives, label, quality, scale, beta, weights, bounds, *logits)


@MODELS.register_module()
class QualityFocalLoss(nn.Module):
    """Quality Focal Loss with MMDetection's interface, and the sparse form the GFL head uses.

    Args:
        use_sigmoid: must be True; the joint score is a sigmoid by definition.
        beta: exponent of the modulating factor, >= 0.
        reduction: "none", "mean" or "sum" over rows.
        loss_weight: factor of the result.
        activated: whether ``pred`` holds probabilities rather than logits.

    Raises:
        ValueError: for a setting that has no meaning here, saying what to write.
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
        """See :func:`quality_focal_loss`; ``weight`` is (N,) and ``avg_factor`` what the mean divides by."""
        rows = quality_focal_loss(pred, target, self.beta, self.activated)
        return self.loss_weight * reduce_rows(rows, weight, self.reduction, avg_factor, reduction_override)

    def sparse(
        self,
        logits: Sequence[Tensor],
        positives: Positives,
        label: Tensor,
        quality: Tensor,
        avg_factor: Tensor,
        weights: Sequence[Tensor] | None = None,
        bounds: Sequence[Bounds] | None = None,
    ) -> Tensor:
        """See :func:`sparse_quality_focal_loss`; the sums are divided by ``avg_factor``, a scalar tensor."""
        # The epsilon is the one MMDetection's weight_reduce_loss adds.
        scale = self.loss_weight / (avg_factor + torch.finfo(torch.float32).eps)
        return sparse_quality_focal_loss(logits, positives, label, quality, scale, self.beta, weights, bounds)


# ---------------------------------------------------------------------------------------------------
# Arithmetic
# ---------------------------------------------------------------------------------------------------


def _terms(logit: Tensor, quality: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """Loss and its derivative by the logit, elementwise, for fp32 tensors."""
    sigma = logit.sigmoid()
    cross_entropy = nn.functional.softplus(logit, threshold=_SATURATED) - logit * quality
    difference = sigma - quality
    distance = difference.abs()
    factor = distance.pow(beta)
    # d|σ - y|^β/dx = β·|σ - y|^β·σ(1 - σ)/(σ - y). At σ = y the slope is 0 for β > 1; for β <= 1 it jumps or
    # diverges there, and 0, the mean of both sides, is taken.
    slope = torch.where(distance > 0, sigma * torch.sigmoid(-logit) / difference, 0.0)
    return factor * cross_entropy, factor * (difference + beta * cross_entropy * slope)


class _QualityTerms(torch.autograd.Function):
    """QFL of each element against a dense target, (N, C) -> (N, C) fp32."""

    @staticmethod
    def forward(ctx, logits: Tensor, quality: Tensor, beta: float) -> Tensor:
        loss, gradient = _terms(logits.float(), quality, beta)
        ctx.save_for_backward(gradient)
        ctx.dtype = logits.dtype
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return (gradient * grad).to(ctx.dtype), None, None


def _probability_terms(probability: Tensor, quality: Tensor, beta: float) -> Tensor:
    """QFL of each element given probabilities; logarithms end at -100, as in PyTorch's binary cross entropy."""
    cross_entropy = -(quality * _bounded_log(probability) + (1 - quality) * _bounded_log(1 - probability))
    difference = quality - probability
    # The clamp keeps the slope of the power finite at 0 without moving any fp32 value.
    factor = difference.abs().clamp(min=1e-12).pow(beta) if beta else torch.ones_like(difference)
    return factor * cross_entropy


def _bounded_log(value: Tensor) -> Tensor:
    positive = value > 0
    return torch.where(positive, torch.where(positive, value, 1.0).log().clamp(min=-100.0), -100.0)


class _SparseQuality(torch.autograd.Function):
    """See :func:`sparse_quality_focal_loss`."""

    @staticmethod
    def forward(
        ctx,
        positives: Positives,
        label: Tensor,
        quality: Tensor,
        scale: Tensor,
        beta: float,
        weights: Sequence[Tensor] | None,
        bounds: Sequence[Bounds] | None,
        *logits: Tensor,
    ) -> Tensor:
        levels = len(logits)
        weights = [None] * levels if weights is None else weights
        bounds = [None] * levels if bounds is None else bounds
        gradients = [_gradient_like(level) if level.requires_grad else None for level in logits]
        sums = _negatives(logits, scale, beta, weights, bounds, gradients)

        widths = [level.shape[3] for level in logits]
        places = [
            (image, kind, location // width, location % width)
            for image, kind, location, width in zip(
                positives.per_level(positives.image),
                positives.per_level(label),
                positives.per_level(positives.location),
                widths,
            )
        ]
        value = torch.cat([level[place].float() for level, place in zip(logits, places)])
        row_weight = torch.where(positives.active, scale, 0.0)
        if weights[0] is not None:
            row_weight = row_weight * torch.cat([weight[i, y, x] for weight, (i, _, y, x) in zip(weights, places)])
        as_negative, negative_slope = _terms(value, torch.zeros_like(value), beta)
        as_positive, positive_slope = _terms(value, quality, beta)
        changes = positives.per_level((as_positive - as_negative) * row_weight)
        on_cpu = logits[0].device.type == "cpu"
        slopes = positives.per_level((positive_slope if on_cpu else positive_slope - negative_slope) * row_weight)
        for gradient, place, slope, active in zip(gradients, places, slopes, positives.per_level(positives.active)):
            if gradient is None:
                continue
            slope = slope.to(gradient.dtype)
            if on_cpu:
                gradient[tuple(index[active] for index in place)] = slope[active]
            else:  # an inert row may name an active one's element, so nothing is overwritten
                gradient.index_put_(place, slope, accumulate=True)
        ctx.save_for_backward(*gradients)
        ctx.dtypes = [level.dtype for level in logits]
        return sums + torch.stack([change.sum() for change in changes])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        # Reading scalars is free on a CPU and would make the host wait for a GPU.
        factors = grad.tolist() if grad.device.type == "cpu" else grad.unbind()
        gradients = [
            None if gradient is None else _scaled(gradient, factor).to(dtype)
            for gradient, factor, dtype in zip(ctx.saved_tensors, factors, ctx.dtypes)
        ]
        return (*(None,) * 7, *gradients)


def _scaled(gradient: Tensor, factor: float | Tensor) -> Tensor:
    return gradient if isinstance(factor, float) and factor == 1.0 else gradient * factor


def _gradient_like(logits: Tensor) -> Tensor:
    # fp16 cannot hold a gradient that the loss scale has not reached yet; it comes in backward.
    dtype = torch.float32 if logits.dtype == torch.float16 else logits.dtype
    return zeros(logits.shape, dtype, logits.device)


def _negatives(
    logits: Sequence[Tensor],
    scale: Tensor,
    beta: float,
    weights: Sequence[Tensor | None],
    bounds: Sequence[Bounds | None],
    gradients: Sequence[Tensor | None],
) -> Tensor:
    """(L,) ``scale * sum`` of every element's loss as a negative; writes scaled gradients into ones that are zero."""
    on_cpu = logits[0].device.type == "cpu"
    # A CPU scalar multiplies without a copy; on a device the factor must stay there.
    factor = scale.item() if on_cpu else scale
    scratch = _Scratch() if on_cpu else None
    sums = []
    for level, weight, bound, gradient in zip(logits, weights, bounds, gradients):
        total = 0.0
        for part in _parts(level.shape, bound, _CHUNK if on_cpu else level.numel()):
            x = level[part]
            part_weight = None if weight is None else weight[part[0], None, part[2], part[3]]
            out = None if gradient is None else gradient[part]
            loss = _negative_chunk(x, part_weight, beta, factor, out, scratch) if on_cpu and beta > 0 else None
            if loss is None:
                loss, slope = _terms(x.float(), scale.new_zeros(()), beta)
                if part_weight is not None:
                    loss, slope = loss * part_weight, slope * part_weight
                loss = loss.sum()
                if out is not None:
                    out.copy_(slope * factor)
            total = total + loss
        sums.append(scale * total)
    return torch.stack(sums)


def _parts(shape: torch.Size, bounds: Bounds | None, size: int) -> Iterator[tuple[slice, ...]]:
    """Index a (B, C, H, W) map in parts of about ``size`` elements at most: whole images, else channels of one."""
    images, classes, height, width = shape
    regions = [(0, width, 0, height)] * images if bounds is None else bounds
    together = max(1, size // max(1, classes * height * width)) if bounds is None else 1
    for image in range(0, images, together):
        x, x_end, y, y_end = regions[image]
        area = (x_end - x) * (y_end - y)
        if area <= 0:
            continue
        step = classes if together > 1 else min(classes, max(1, size // area))
        for label in range(0, classes, step):
            yield (slice(image, image + together), slice(label, label + step), slice(y, y_end), slice(x, x_end))


class _Scratch:
    """Memory that chunk after chunk is worked on in, so that it stays in cache."""

    def __init__(self) -> None:
        self._memory = torch.empty(5, 0)
        self._views: dict[torch.Size, list[Tensor]] = {}

    def views(self, shape: torch.Size) -> list[Tensor]:
        """Five tensors of a shape, what was in them lost."""
        if shape not in self._views:
            if shape.numel() > self._memory.shape[1]:
                self._memory = torch.empty(5, max(shape.numel(), _CHUNK))
                self._views.clear()
            self._views[shape] = [row[: shape.numel()].view(shape) for row in self._memory]
        return self._views[shape]

    @staticmethod
    @functools.lru_cache(maxsize=16)
    def constant(value: float) -> Tensor:
        """A scalar tensor."""
        return torch.tensor(value)


def _negative_chunk(
    logits: Tensor, weight: Tensor | None, beta: float, factor: float, gradient: Tensor | None, scratch: _Scratch
) -> float | None:
    """Sum of the losses for y = 0, and the gradient times ``factor``, in as few sweeps as possible; beta > 0.

    With u = e^x: σ = u / (1 + u) and l = softplus(x) = log(1 + u); loss = σ^β·l, and its slope
    σ^β·(σ + β·l·(1 - σ)) = β·σ^β·lerp(l, 1/β, σ).

    Returns:
        The sum; or None, for the caller to do it otherwise, where a logit is so large (88) that u overflows.
    """
    x, odds, sigma, soft, power = scratch.views(logits.shape)
    if logits.dtype == torch.float32 and logits.stride(2) == logits.shape[3]:
        x = logits
    else:  # exp and log of many short rows take several times as long as of one piece
        x.copy_(logits)
    torch.exp(x, out=odds)
    torch.log1p(odds, out=soft)
    torch.add(odds, 1, out=sigma)
    torch.div(odds, sigma, out=sigma)
    if beta == 2.0:
        torch.mul(sigma, sigma, out=power)
    else:
        torch.log(sigma, out=power).mul_(beta).exp_()
    if weight is not None:
        power.mul_(weight)
    total = torch.dot(soft.view(-1), power.view(-1)).item()
    if not math.isfinite(total):
        return None
    if gradient is not None:
        slope = torch.lerp(soft, scratch.constant(1 / beta), sigma, out=soft)
        if gradient.dtype == torch.float32:
            torch.addcmul(scratch.constant(0.0), slope, power, value=beta * factor, out=gradient)
        else:
            gradient.copy_(slope.mul_(power).mul_(beta * factor))
    return total


# ---------------------------------------------------------------------------------------------------
# Checks
# ---------------------------------------------------------------------------------------------------


def _check_beta(beta: float) -> float:
    """The exponent itself, or a ValueError."""
    if not (isinstance(beta, (int, float)) and 0 <= beta < float("inf")):
        raise ValueError(f"beta is {beta!r}; it must be a finite number >= 0 (the paper's best is 2)")
    return float(beta)


def _dense_target(pred: Tensor, target: Target) -> Tensor:
    """Either target form as (N, C) qualities, fp32."""
    if pred.dim() != 2:
        raise ValueError(f"pred has shape {tuple(pred.shape)}; QFL takes (N, C), one row a location")
    if isinstance(target, Tensor):
        if target.shape != pred.shape:
            raise ValueError(
                f"target has shape {tuple(target.shape)}; a dense target must have pred's: {tuple(pred.shape)}. "
                "For one class and quality a row, give the tuple (label, score)"
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
            f"one entry a row of pred {tuple(pred.shape)}"
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
