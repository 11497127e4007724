"""Losses of the dense class scores of a pyramid, with quality targets for positives only."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..ops.host_values import on_host
from ..structures.class_targets import ClassTargets
from .qfl import Negatives, sweep_negatives

# (P,) logits and (P,) quality targets of positives at their classes, fp32 -> what the loss of each is more than as a
# negative, and the derivative of the loss with respect to the logit, both (P,) fp32.
Correction = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def sparse_quality_loss(
    logits: Sequence[Tensor], targets: ClassTargets, beta: float, correction: Correction, loss_weight: float = 1.0
) -> Tensor:
    r"""A loss whose negatives are those of QFL, :math:`-\sigma^\beta \log(1 - \sigma)`.

    Every element is first treated as a negative in one pass over the logits in their (B, C, H, W) layout; the few
    elements with an object are then corrected. The pass computes loss and gradient, and only the gradient is kept.

    Args:
        logits: L maps (B, C, H, W) of any float dtype.
        targets: classes and qualities of the positives, weights of locations, and the normalizer.
        beta: exponent of the negatives' modulating factor, >= 0.
        correction: of the positives.
        loss_weight: factor of the result. It is applied inside, which saves a pass over the gradient.

    Returns:
        (L,) ``loss_weight * sum / avg_factor`` of each level, fp32.
    """
    # The epsilon is the one that MMDetection's weight_reduce_loss adds.
    scale = loss_weight / (targets.avg_factor + torch.finfo(torch.float32).eps)
    if not torch.is_grad_enabled():
        logits = [level.detach() for level in logits]  # else an unused gradient would be computed
    return _SparseQuality.apply(targets, scale, beta, correction, *logits)


class _SparseQuality(torch.autograd.Function):
    """See :func:`sparse_quality_loss`."""

    @staticmethod
    def forward(
        ctx, targets: ClassTargets, scale: Tensor, beta: float, correction: Correction, *logits: Tensor
    ) -> Tensor:
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
        change, slope = correction(value, quality)
        changes = positives.level_sums(change * row_weight)
        written = positives.per_level(positives.targets(elements, shapes))
        for gradient, index, rows in zip(gradients, written, positives.per_level(slope * row_weight)):
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
        return (None, None, None, None, *gradients)


def _scaled(gradient: Tensor, factor: float | Tensor) -> Tensor:
    return gradient if isinstance(factor, float) and factor == 1.0 else gradient * factor
