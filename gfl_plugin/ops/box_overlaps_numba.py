"""Overlaps of boxes on a CPU, compiled by Numba: IoU and generalized IoU with their gradients, in one loop.

Gradients are computed in the order of autograd, since their terms cancel where boxes touch. They are equal also where
slopes jump: half of the slope where two sides are equal, and that of the inside where a length is at its bound.
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
_NONE = np.empty((1, 0), np.float32)


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
def _gradient_of_axis(low, high, other_low, other_high, by_overlap, by_side, by_around):
    """Gradient of the box's two sides on one axis, from those of three lengths on it."""
    if _least(high, other_high) < -_least(-low, -other_low):
        by_overlap = _ZERO
    return (
        -by_overlap * _is_more(low, other_low) - by_side - by_around * _is_more(other_low, low),
        by_overlap * _is_more(other_high, high) + by_side + by_around * _is_more(high, other_high),
    )


@threaded()
def _overlaps(boxes, others, epsilon, generalized, incoming, values, gradient):
    """Fill ``values`` (N,); and ``gradient`` (N, 4) of the boxes from ``incoming`` (N,), unless that is empty."""
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
            factor = incoming[row] if incoming.size else _ZERO
            by_overlap, by_union = factor / union, -factor * ((overlap / union) / union)
            by_around = outer_width = outer_height = _ZERO
            if generalized:
                outer_width = _bounded(-_least(-right, -other_right) - _least(left, other_left), _ZERO)
                outer_height = _bounded(-_least(-bottom, -other_bottom) - _least(top, other_top), _ZERO)
                around = _bounded(outer_width * outer_height, epsilon)
                empty = (around - union) / around
                values[row] -= empty
                by_union += factor / around
                by_around = (
                    _ZERO if outer_width * outer_height < epsilon else factor * (empty / around) - factor / around
                )
            if incoming.size:
                if area < epsilon:
                    by_union = _ZERO
                by_overlap -= by_union
                gradient[row, 0], gradient[row, 2] = _gradient_of_axis(
                    left,
                    right,
                    other_left,
                    other_right,
                    by_overlap * inner_height,
                    by_union * height,
                    by_around * outer_height,
                )
                gradient[row, 1], gradient[row, 3] = _gradient_of_axis(
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
    """Both overlaps are symmetric: the gradient of the other boxes is that of the boxes, exchanged."""

    @staticmethod
    def forward(ctx, boxes: Tensor, others: Tensor, eps: float, generalized: bool) -> Tensor:
        ctx.save_for_backward(boxes, others)
        ctx.settings = np.float32(eps), generalized
        values = torch.empty(boxes.shape[:-1])
        _overlaps(_rows(boxes), _rows(others), *ctx.settings, _NONE[0], values.view(-1).numpy(), _NONE)
        return values

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        boxes, others = map(_rows, ctx.saved_tensors)
        incoming, found = grad.reshape(-1).contiguous().numpy(), []
        for wanted, pair in zip(ctx.needs_input_grad, ((boxes, others), (others, boxes))):
            gradient = torch.empty(*grad.shape, 4) if wanted else None
            if gradient is not None:
                _overlaps(*pair, *ctx.settings, incoming, np.empty_like(incoming), gradient.view(-1, 4).numpy())
            found.append(gradient)
        return (*found, None, None)


def _rows(boxes: Tensor) -> np.ndarray:
    return boxes.detach().reshape(-1, 4).contiguous().numpy()
