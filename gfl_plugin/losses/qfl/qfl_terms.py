"""QFL of single elements in PyTorch operations; every kernel is tested against the same formula."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# From this logit on, softplus is the logit itself in fp32.
_SATURATED = 30.0


def quality_terms(logit: Tensor, quality: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """Loss of each element and its derivative with respect to the logit.

    Args:
        logit: fp32, any shape.
        quality: fp32 targets in [0, 1], broadcastable to ``logit``.
        beta: exponent of the modulating factor, >= 0.

    Returns:
        Losses and derivatives, fp32.
    """
    sigma = logit.sigmoid()
    cross_entropy = nn.functional.softplus(logit, threshold=_SATURATED) - logit * quality
    difference = sigma - quality
    distance = difference.abs()
    factor = distance.pow(beta)
    # d|σ - y|^β/dx = β·|σ - y|^β·σ(1 - σ)/(σ - y). At σ = y the slope is 0 for β > 1. For β <= 1 it jumps or diverges
    # there, and 0, the mean of both sides, is used.
    slope = torch.where(distance > 0, sigma * torch.sigmoid(-logit) / difference, 0.0)
    return factor * cross_entropy, factor * (difference + beta * (cross_entropy * slope))
