"""Overlaps of boxes on a CPU, compiled by Numba: IoU and generalized IoU with their slopes, in one loop.

Slopes equal those of PyTorch operations also where they jump: half of the slope where two sides are equal, and that
of the inside where a length or an area is at its bound.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import prange
from torch import Tensor

from .numba_kernel import inlined
from .numba_loops import threaded

_ROWS = 256  # per task of a thread
_ZERO, _HALF, _ONE = np.float32(0), np.float32(0.5), np.float32(1)


@inlined()
def _least(a, b):
    return a if a < b or a != a else b


@inlined()
def _bounded(value, bound):
    """The value, at least ``bound``; NaN stays NaN."""
    return bound if value < bound else value


@inlined()
def _is_more(a, b):
    """The slope of max(a, b) with respect to a."""
    return _ONE if a > b else (_HALF if a == b else _ZERO)


@inlined()
def _slopes_of_axis(low, high, other_low, other_high, by_overlap, by_side, by_around):
    """Slopes with respect to the box's two sides of one axis, from those with respect to three lengths on it."""
    if _least(high, other_high) < -_least(-low, -other_low):
        by_overlap = _ZERO
    return (
        -by_overlap * _is_more(low, other_low) - by_side - by_around * _is_more(other_low, low),
        by_overlap * _is_more(other_high, high) + by_side + by_around * _is_more(high, other_high),
    )


@threaded()
def _overlaps(boxes, others, epsilon, generalized, values, slopes):
    """Fill ``values`` (N,), and ``slopes`` (N, 4) with respect to ``boxes`` unless it is empty."""
    for task in prange((len(boxes) + _ROWS - 1) // _ROWS):
        for row in range(task * _ROWS, min((task + 1) * _ROWS, len(boxes))):
            # Numbers, not rows: a view of a row counts references.
            left, top, right, bottom = boxes[row, 0], boxes[row, 1], boxes[row, 2], boxes[row, 3]
            other_left, other_top, other_right, other_bottom = (
                others[row, 0], others[row, 1], others[row, 2], others[row, 3]
            )  # fmt: skip
            width, height = right - left, bottom - top
            inner_width = _bounded(_least(right, other_right) + _least(-left, -other_left), _ZERO)
            inner_height = _bounded(_least(bottom, other_bottom) + _least(-top, -other_top), _ZERO)
            overlap = inner_width * inner_height
            area = width * height + (other_right - other_left) * (other_bottom - other_top) - overlap
            union = _bounded(area, epsilon)
            values[row] = overlap / union
            by_overlap, by_union = _ONE / union, -(overlap / union) / union
            by_around = outer_width = outer_height = _ZERO
            if generalized:
                outer_width = _bounded(-_least(-right, -other_right) - _least(left, other_left), _ZERO)
                outer_height = _bounded(-_least(-bottom, -other_bottom) - _least(top, other_top), _ZERO)
                around = _bounded(outer_width * outer_height, epsilon)
                empty = (around - union) / around
                values[row] -= empty
                by_union += _ONE / around
                by_around = _ZERO if outer_width * outer_height < epsilon else empty / around - _ONE / around
            if slopes.size:
                if area < epsilon:
                    by_union = _ZERO
                by_overlap -= by_union
                slopes[row, 0], slopes[row, 2] = _slopes_of_axis(
                    left,
                    right,
                    other_left,
                    other_right,
                    by_overlap * inner_height,
                    by_union * height,
                    by_around * outer_height,
                )
                slopes[row, 1], slopes[row, 3] = _slopes_of_axis(
                    top,
                    bottom,
                    other_top,
                    other_bottom,
                    by_overlap * inner_width,
                    by_union * width,
                    by_around * outer_width,
                )


def aligned_iou(boxes: Tensor, others: Tensor, eps: float) -> Tensor:
    """IoU of fp32 boxes on a CPU, differentiable once; see :func:`.box_geometry.aligned_iou`.

    Args:
        boxes: (..., 4).
        others: (..., 4).
        eps: least area of a union.

    Returns:
        (...).
    """
    return _Overlaps.apply(*torch.broadcast_tensors(boxes, others), eps, False)


def aligned_giou(boxes: Tensor, others: Tensor, eps: float) -> Tensor:
    """Generalized IoU of fp32 boxes on a CPU, differentiable once; see :func:`.box_geometry.aligned_giou`.

    Args:
        boxes: (..., 4).
        others: (..., 4).
        eps: least area of a union and of an enclosing box.

    Returns:
        (...).
    """
    return _Overlaps.apply(*torch.broadcast_tensors(boxes, others), eps, True)


class _Overlaps(torch.autograd.Function):
    """Both overlaps are symmetric: the slopes with respect to the other boxes are those with the boxes exchanged."""

    @staticmethod
    def forward(ctx, boxes: Tensor, others: Tensor, eps: float, generalized: bool) -> Tensor:
        rows = [tensor.detach().reshape(-1, 4).contiguous().numpy() for tensor in (boxes, others)]
        values, slopes = torch.empty(boxes.shape[:-1]), []
        for wanted, pair in zip(ctx.needs_input_grad, (rows, rows[::-1])):
            slopes.append(torch.empty(boxes.shape if wanted else (0, 4)))
            if wanted or pair is rows:
                _overlaps(*pair, np.float32(eps), generalized, values.view(-1).numpy(), slopes[-1].view(-1, 4).numpy())
        ctx.save_for_backward(*slopes)
        return values

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        found = [
            grad[..., None] * slopes if wanted else None
            for wanted, slopes in zip(ctx.needs_input_grad, ctx.saved_tensors)
        ]
        return (*found, None, None)
