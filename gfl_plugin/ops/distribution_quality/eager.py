"""Distribution-guided quality in PyTorch operations, for any device and dtype."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import conv2d

from ..top_probabilities import top_probabilities
from .inputs import QualityLayers, Statistics


def quality_logits(box_logits: Tensor, layers: QualityLayers, statistics: Statistics) -> Tensor:
    """Quality logits, differentiable.

    Args:
        box_logits: (B, 4·(n+1), H, W) of any float dtype.
        layers: the layers.
        statistics: what they are told of each side.

    Returns:
        (B, 1, H, W) in the layers' dtype.
    """
    told = top_probabilities(box_logits, statistics.topk, statistics.values, statistics.mean, statistics.variance)
    hidden = conv2d(told.to(layers.weight.dtype), layers.weight, layers.bias).relu()
    return conv2d(hidden, layers.out_weight, layers.out_bias)
