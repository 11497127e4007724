"""QFL of single elements, in PyTorch's own operations: what every other form of it is held against."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Above this logit, softplus is the logit itself in fp32.
_SATURATED = 30.0


def quality_terms(logit: Tensor, quality: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """Loss and its derivative by the logit, elementwise, for fp32 tensors."""
    sigma = logit.sigmoid()
    cross_entropy = nn.functional.softplus(logit, threshold=_SATURATED) - logit * quality
    difference = sigma - quality
    distance = difference.abs()
    factor = distance.pow(beta)
    # d|σ - y|^β/dx = β·|σ - y|^β·σ(1 - σ)/(σ - y). At σ = y the slope is 0 for β > 1; for β <= 1 it jumps or
    # diverges there, and 0, the mean of both sides, is taken.
    slope = torch.where(distance > 0, sigma * torch.sigmoid(-logit) / difference, 0.0)
    return factor * cross_entropy, factor * (difference + beta * (cross_entropy * slope))
