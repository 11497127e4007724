"""Greedy non-maximum suppression of any number of images and classes in one call, exactly as mmcv's compiled op.

Compiled loops on a CPU where Numba is installed, blocks of PyTorch's operations elsewhere. Needs nothing of
MMDetection's, so that it can stand in for mmcv's op.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .backend import installed
from .host_values import on_host

_BLOCK = 512  # boxes compared with each other at a time
_LATER = 8 * _BLOCK  # boxes compared with a block's at a time


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int = 0, groups: Tensor | None = None) -> Tensor:
    """Drop each box whose IoU with a kept box of higher score, and of its own group, is above the threshold.

    Work is O(N · kept) of each group, memory O(N), or O(N · block) in PyTorch's operations: never N².

    Args:
        boxes: (N, 4), x1, y1, x2, y2.
        scores: (N,); of equal ones the first counts as higher.
        iou_threshold: in [0, 1]; an IoU equal to it is kept.
        offset: added to widths and heights, 0 or 1.
        groups: (N,) int64, images and classes that know nothing of each other; None for a single group.

    Returns:
        Indices of the kept boxes by descending score, int64.
    """
    order = scores.sort(descending=True, stable=True).indices
    if on_host(boxes) and boxes.dtype == torch.float32 and installed("numba"):
        from .nms_numba import keep

        return order[keep(boxes[order], iou_threshold, offset, None if groups is None else groups[order])]
    return order[_keep(boxes[order], iou_threshold, offset, None if groups is None else groups[order])]


def _keep(boxes: Tensor, iou_threshold: float, offset: int, groups: Tensor | None) -> Tensor:
    """(N,) bool, which of boxes by descending score are kept."""
    groups = torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device) if groups is None else groups
    sides = boxes[:, 2:] - boxes[:, :2] + offset
    areas = sides[:, 0] * sides[:, 1]
    alive = torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)

    def overlap(rows: slice | Tensor, columns: slice) -> Tensor:
        ious = pairwise_iou(boxes[rows], areas[rows], boxes[columns], areas[columns], offset)
        return (ious > iou_threshold) & (groups[rows][:, None] == groups[columns])

    for start in range(0, len(boxes), _BLOCK):
        block = slice(start, start + _BLOCK)
        alive[block] = _greedy(alive[block], overlap(block, block).triu(diagonal=1))
        kept = alive[block].nonzero().squeeze(1) + start
        for rest in range(start + _BLOCK, len(boxes), _LATER):
            later = slice(rest, rest + _LATER)
            alive[later] &= ~overlap(kept, later).any(dim=0)
    return alive


def _greedy(alive: Tensor, suppresses: Tensor) -> Tensor:
    """The boxes that survive greedy suppression within one block.

    ``suppresses[i, j]`` holds for i before j only. The greedy answer is the one fixed point of "j lives iff no living
    i suppresses it"; iterating from all alive settles at least one more box of each chain a round.
    """
    kept = alive
    while True:
        suppressed = (suppresses & kept[:, None]).any(dim=0)
        settled = alive & ~suppressed
        if torch.equal(settled, kept):
            return kept
        kept = settled


def pairwise_iou(boxes: Tensor, areas: Tensor, others: Tensor, other_areas: Tensor, offset: int) -> Tensor:
    """(N, 4) and (M, 4) boxes with their areas -> (N, M)."""
    low = torch.maximum(boxes[:, None, :2], others[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], others[None, :, 2:])
    sides = (high - low + offset).clamp_(min=0)
    intersection = sides[..., 0] * sides[..., 1]
    return intersection / (areas[:, None] + other_areas[None, :] - intersection)
