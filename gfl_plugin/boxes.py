"""Geometry of boxes x1, y1, x2, y2: centres, and overlaps of boxes with boxes, pair by pair.

MMDetection's ``bbox_overlaps`` gives the same numbers, but makes the host wait for a GPU.
"""

from __future__ import annotations

import torch
from torch import Tensor


def centres(boxes: Tensor) -> Tensor:
    """(..., 4) boxes -> (..., 2) centres x, y."""
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def areas(boxes: Tensor) -> Tensor:
    """(..., 4) boxes -> (...) areas."""
    sides = boxes[..., 2:] - boxes[..., :2]
    return sides[..., 0] * sides[..., 1]


def aligned_iou(boxes: Tensor, others: Tensor, eps: float = 1e-6) -> Tensor:
    """(..., 4) and (..., 4) boxes -> (...) intersection over union; no union counts as smaller than ``eps``."""
    overlap, union = _overlap_and_union(boxes, others)
    return overlap / union.clamp(min=eps)


def aligned_giou(boxes: Tensor, others: Tensor, eps: float = 1e-6) -> Tensor:
    """(..., 4) and (..., 4) boxes -> (...) generalized IoU (Rezatofighi et al., arXiv 1902.09630), in [-1, 1]:
    IoU less the part of the box around both that neither covers."""
    overlap, union = _overlap_and_union(boxes, others)
    union = union.clamp(min=eps)
    low = torch.minimum(boxes[..., :2], others[..., :2])
    high = torch.maximum(boxes[..., 2:], others[..., 2:])
    sides = (high - low).clamp(min=0)
    around = (sides[..., 0] * sides[..., 1]).clamp(min=eps)
    return overlap / union - (around - union) / around


def _overlap_and_union(boxes: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    low = torch.maximum(boxes[..., :2], others[..., :2])
    high = torch.minimum(boxes[..., 2:], others[..., 2:])
    sides = (high - low).clamp(min=0)
    overlap = sides[..., 0] * sides[..., 1]
    return overlap, areas(boxes) + areas(others) - overlap
