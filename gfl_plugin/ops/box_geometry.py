"""Geometry of boxes x1, y1, x2, y2: centers, and overlaps of boxes with boxes, pair by pair.

MMDetection's ``bbox_overlaps`` gives the same numbers, but makes the host wait for a GPU.
"""

from __future__ import annotations

import torch
from torch import Tensor


def centers(boxes: Tensor) -> Tensor:
    """(..., 4) boxes -> (..., 2) centers x, y."""
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def aligned_iou(boxes: Tensor, others: Tensor, eps: float = 1e-6) -> Tensor:
    """(..., 4) and (..., 4) boxes -> (...) intersection over union; no union counts as smaller than ``eps``."""
    overlap, union = _overlap_and_union(*_corners(boxes), *_corners(others))
    return overlap / union.clamp(min=eps)


def aligned_giou(boxes: Tensor, others: Tensor, eps: float = 1e-6) -> Tensor:
    """(..., 4) and (..., 4) boxes -> (...) generalized IoU (Rezatofighi et al., arXiv 1902.09630), in [-1, 1]:
    IoU less the part of the box around both that neither covers."""
    (low, high), (other_low, other_high) = _corners(boxes), _corners(others)
    overlap, union = _overlap_and_union(low, high, other_low, other_high)
    union = union.clamp(min=eps)
    around = _area((torch.maximum(high, other_high) - torch.minimum(low, other_low)).clamp(min=0)).clamp(min=eps)
    return overlap / union - (around - union) / around


def _corners(boxes: Tensor) -> tuple[Tensor, Tensor]:
    # Split, not sliced: the backward of a slice is a dense map of its own.
    return boxes.split_with_sizes((2, 2), dim=-1)


def _area(sides: Tensor) -> Tensor:
    width, height = sides.unbind(dim=-1)
    return width * height


def _overlap_and_union(low: Tensor, high: Tensor, other_low: Tensor, other_high: Tensor) -> tuple[Tensor, Tensor]:
    overlap = _area((torch.minimum(high, other_high) - torch.maximum(low, other_low)).clamp(min=0))
    return overlap, _area(high - low) + _area(other_high - other_low) - overlap


def in_reach(boxes: Tensor) -> Tensor:
    """(N, 4) -> (N,) bool: whether every coordinate is a number up to 2^24 pixels.

    Beyond, fp32 does not know neighbouring pixels apart, and areas overflow.
    """
    return (boxes.abs() <= 2.0**24).all(dim=-1)  # False for NaN, too
