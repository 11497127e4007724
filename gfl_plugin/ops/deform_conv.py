"""Deformable convolution in PyTorch's operations: each kernel position is sampled with ``grid_sample``.

mmcv's operation on a CPU is a scalar loop without bf16; mmcv-lite has none. With samples from ``grid_sample``, forward
and backward of a 3 × 3 convolution with 64 channels take about a tenth of its time.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

Size = int | tuple[int, int]


def deform_conv2d(
    features: Tensor,
    offset: Tensor,
    weight: Tensor,
    stride: Size = 1,
    padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
    deform_groups: int = 1,
    bias: bool = False,
    im2col_step: int = 32,
) -> Tensor:
    """Deformable convolution, version 1 (Dai et al., arXiv:1703.06211, equation 2), with mmcv's arguments.

    y(p) = Σₖ w(k) · x(p · stride − padding + k · dilation + Δ(p, k)), where x between locations is bilinear and outside
    the map is 0.

    Args:
        features: x, (N, C, H, W).
        offset: Δ, (N, deform_groups · K · 2, H', W'), K positions of the kernel; y before x, in locations of x.
        weight: w, (C', C / groups, kH, kW).
        stride: stride of the kernel; one number or (vertical, horizontal), also for the next two.
        padding: locations before the first one at which the kernel begins.
        dilation: distance of the kernel's positions.
        groups: number of groups of channels that are convolved separately.
        deform_groups: number of groups of channels with offsets of their own.
        bias: False; mmcv's function has no bias either.
        im2col_step: images that mmcv's function computes at once; without effect here.

    Returns:
        y, (N, C', H', W').

    Raises:
        ValueError: if ``bias`` is True.
    """
    if bias:
        raise ValueError("deform_conv2d has no bias; add it to the result")
    (stride_y, stride_x), (pad_y, pad_x), (step_y, step_x) = map(_pair, (stride, padding, dilation))
    images, channels, height, width = features.shape
    kernel_y, kernel_x = weight.shape[-2:]
    rows, columns = offset.shape[-2:]
    positions = kernel_y * kernel_x
    moves = offset.float().reshape(images * deform_groups, positions, 2, rows, columns)
    y = moves[:, :, 0] + _starts(rows, stride_y, pad_y, offset).view(rows, 1)
    x = moves[:, :, 1] + _starts(columns, stride_x, pad_x, offset)
    of_kernel = torch.arange(positions, device=offset.device).view(positions, 1, 1)
    y = y + of_kernel // kernel_x * step_y
    x = x + of_kernel % kernel_x * step_x
    grid = torch.stack(((2 * x + 1) / width - 1, (2 * y + 1) / height - 1), dim=-1)
    sampled = F.grid_sample(
        features.float().reshape(images * deform_groups, channels // deform_groups, height, width),
        grid.reshape(images * deform_groups, positions * rows, columns, 2),
        mode="bilinear",
        padding_mode="zeros",
        align_corners=False,
    )
    sampled = sampled.reshape(images, channels * positions, rows, columns)
    return F.conv2d(sampled.to(features.dtype), weight.reshape(len(weight), -1, 1, 1), groups=groups)


def _starts(count: int, stride: int, padding: int, like: Tensor) -> Tensor:
    """Where the kernel begins, for each output row or column."""
    return torch.arange(count, device=like.device) * stride - padding


def _pair(size: Size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size
