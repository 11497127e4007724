"""Geometry of boxes (x1, y1, x2, y2): centers, and overlaps of two equally long lists of boxes.

The overlaps are those of MMDetection's ``bbox_overlaps(..., is_aligned=True)``, without its GPU synchronizations.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .backend import Kernels


def centers(boxes: Tensor) -> Tensor:
    """Centers of boxes.

    Args:
        boxes: (..., 4), x1, y1, x2, y2.

    Returns:
        (..., 2), x, y.
    """
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def aligned_iou(boxes: Tensor, others: Tensor, eps: float = 1e-6) -> Tensor:
    """Intersection over union of each box and the other box at the same index.

    Args:
        boxes: (..., 4), x1, y1, x2, y2.
        others: (..., 4).
        eps: unions are clamped to at least this area, in the boxes' unit, squared.

    Returns:
        (...), in [0, 1].

    Raises:
        RuntimeError: if :func:`gfl_plugin.ops.backend.use_backend` requests a kernel that does not take the boxes.
    """
    return _IOU.for_tensors((boxes, others))(boxes, others, eps)


def _iou(boxes: Tensor, others: Tensor, eps: float) -> Tensor:
    overlap, union = _overlap_and_union(*_corners(boxes), *_corners(others))
    return overlap / union.clamp(min=eps)


def aligned_giou(boxes: Tensor, others: Tensor, eps: float = 1e-6) -> Tensor:
    """Generalized IoU of each box and the other box at the same index.

    It is the IoU minus the fraction of the smallest enclosing box that neither box covers (Rezatofighi et al.,
    arXiv 1902.09630).

    Args:
        boxes: (..., 4), x1, y1, x2, y2.
        others: (..., 4).
        eps: areas in denominators are clamped to at least this, in the boxes' unit, squared.

    Returns:
        (...), in [-1, 1].

    Raises:
        RuntimeError: if :func:`gfl_plugin.ops.backend.use_backend` requests a kernel that does not take the boxes.
    """
    return _GIOU.for_tensors((boxes, others))(boxes, others, eps)


def _giou(boxes: Tensor, others: Tensor, eps: float) -> Tensor:
    (low, high), (other_low, other_high) = _corners(boxes), _corners(others)
    overlap, union = _overlap_and_union(low, high, other_low, other_high)
    union = union.clamp(min=eps)
    around = _area((torch.maximum(high, other_high) - torch.minimum(low, other_low)).clamp(min=0)).clamp(min=eps)
    return overlap / union - (around - union) / around


_IOU = Kernels(torch=_iou, numba="gfl_plugin.ops.box_overlaps_numba:aligned_iou")
_GIOU = Kernels(torch=_giou, numba="gfl_plugin.ops.box_overlaps_numba:aligned_giou")


def in_reach(boxes: Tensor) -> Tensor:
    """Whether all coordinates of a box are finite and at most 2^24 pixels from 0.

    Beyond that, fp32 cannot represent neighboring pixels, and areas overflow.

    Args:
        boxes: (N, 4).

    Returns:
        (N,) bool.
    """
    return (boxes.abs() <= 2.0**24).all(dim=-1)  # False for NaN, too


def _corners(boxes: Tensor) -> tuple[Tensor, Tensor]:
    # Split, not sliced: the backward of a slice writes a dense gradient of its own.
    return boxes.split_with_sizes((2, 2), dim=-1)


def _area(sides: Tensor) -> Tensor:
    width, height = sides.unbind(dim=-1)
    return width * height


def _overlap_and_union(low: Tensor, high: Tensor, other_low: Tensor, other_high: Tensor) -> tuple[Tensor, Tensor]:
    overlap = _area((torch.minimum(high, other_high) - torch.maximum(low, other_low)).clamp(min=0))
    return overlap, _area(high - low) + _area(other_high - other_low) - overlap
