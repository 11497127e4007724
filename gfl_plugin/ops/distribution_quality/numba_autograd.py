"""Distribution-guided quality with the gradient of the Numba kernel."""

from __future__ import annotations

import torch
from torch import Tensor

from . import numba_cpu
from .inputs import QualityLayers, Statistics


def quality_logits(box_logits: Tensor, layers: QualityLayers, statistics: Statistics) -> Tensor:
    """Quality logits, differentiable once.

    Args:
        box_logits: (B, 4·(n+1), H, W) fp32 on a CPU.
        layers: the layers, fp32.
        statistics: what they are told of each side.

    Returns:
        (B, 1, H, W) fp32.
    """
    parameters = layers.weight, layers.bias, layers.out_weight, layers.out_bias
    return _QualityLogits.apply(statistics, box_logits, *parameters)


class _QualityLogits(torch.autograd.Function):
    @staticmethod
    def forward(ctx, statistics: Statistics, box_logits: Tensor, *parameters: Tensor) -> Tensor:
        ctx.statistics = statistics
        ctx.save_for_backward(box_logits, *parameters)
        return numba_cpu.forward(box_logits, QualityLayers(*parameters), statistics)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        box_logits, *parameters = ctx.saved_tensors
        of_logits, of_layers = numba_cpu.backward(box_logits, QualityLayers(*parameters), ctx.statistics, grad)
        return None, of_logits, of_layers.weight, of_layers.bias, of_layers.out_weight, of_layers.out_bias
