"""Greedy non-maximum suppression of any number of images and classes in one call, with the results of mmcv's op.

It is also the stand-in for mmcv's compiled op, so nothing of MMDetection is imported here.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from .backend import Kernels
from .descending import descending

_BLOCK = 512  # boxes that are compared with each other at a time
_LATER = 8 * _BLOCK  # boxes that are compared with a block's kept boxes at a time


def nms(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float,
    offset: int = 0,
    groups: Tensor | None = None,
    limit: int | None = None,
) -> Tensor:
    """Remove each box whose IoU with a kept box of the same group and a higher score is above a threshold.

    It takes O(N · kept) time per group, and O(N) memory with Numba or O(N · block) with PyTorch operations; there is
    no N × N matrix. With a limit, boxes are compared only until so many are kept.

    Args:
        boxes: (N, 4), x1, y1, x2, y2.
        scores: (N,); of equal scores, the first counts as higher.
        iou_threshold: in [0, 1]; a box with an IoU equal to it is kept.
        offset: added to widths and heights, 0 or 1.
        groups: (N,) int64, >= 0. Boxes of different groups, such as images, do not suppress each other. None for a
            single group.
        limit: maximum per group, the best ones, >= 1; None for all.

    Returns:
        Indices of the kept boxes, group after group, each by descending score, int64.
    """
    order = descending(scores, groups)
    keep = _KEEP.for_tensor(boxes)
    bounds = [0, len(boxes)] if groups is None else _bounds(groups[order])
    return order[keep(boxes[order], iou_threshold, offset, bounds, len(boxes) if limit is None else limit)]


def _bounds(groups: Tensor) -> list[int]:
    """Where each group begins, and the number of all elements, for sorted groups."""
    begins = (groups[1:] != groups[:-1]).nonzero().squeeze(1) + 1
    return [0, *begins.tolist(), len(groups)]


def _keep(boxes: Tensor, iou_threshold: float, offset: int, bounds: Sequence[int], limit: int) -> Tensor:
    """(N,) bool, whether each of the boxes is kept; see :func:`.nms_numba.keep`."""
    groups = [slice(first, end) for first, end in itertools.pairwise(bounds)]
    return torch.cat([_keep_of_group(boxes[group], iou_threshold, offset, limit) for group in groups])


def _keep_of_group(boxes: Tensor, iou_threshold: float, offset: int, limit: int) -> Tensor:
    """(M,) bool, whether each of the boxes of one group, sorted by descending score, is kept."""
    sides = boxes[:, 2:] - boxes[:, :2] + offset
    areas = sides[:, 0] * sides[:, 1]
    alive = torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)

    def overlap(rows: slice | Tensor, columns: slice) -> Tensor:
        return pairwise_iou(boxes[rows], areas[rows], boxes[columns], areas[columns], offset) > iou_threshold

    for start in range(0, len(boxes), _BLOCK):
        block = slice(start, start + _BLOCK)
        alive[block] = _greedy(alive[block], overlap(block, block).triu(diagonal=1))
        kept = alive[block].nonzero().squeeze(1) + start
        limit -= len(kept)
        if limit <= 0:
            alive[kept[len(kept) + limit :]] = False
            alive[start + _BLOCK :] = False
            break
        for rest in range(start + _BLOCK, len(boxes), _LATER):
            later = slice(rest, rest + _LATER)
            alive[later] &= ~overlap(kept, later).any(dim=0)
    return alive


_KEEP = Kernels(torch=_keep, numba="gfl_plugin.ops.nms_numba:keep")


def _greedy(alive: Tensor, suppresses: Tensor) -> Tensor:
    """(M,) bool, the boxes of one block that greedy suppression keeps.

    ``suppresses[i, j]`` is True only for i before j. The result is the only fixed point of "j is kept if no kept i
    suppresses it". Starting with all boxes, each iteration settles at least one more box of every chain.
    """
    kept = alive
    while True:
        suppressed = (suppresses & kept[:, None]).any(dim=0)
        settled = alive & ~suppressed
        if torch.equal(settled, kept):
            return kept
        kept = settled


def pairwise_iou(boxes: Tensor, areas: Tensor, others: Tensor, other_areas: Tensor, offset: int) -> Tensor:
    """IoU of every box with every other box.

    Args:
        boxes: (N, 4), x1, y1, x2, y2.
        areas: (N,), of ``boxes``, offset included.
        others: (M, 4).
        other_areas: (M,), of ``others``, offset included.
        offset: added to widths and heights, 0 or 1.

    Returns:
        (N, M).
    """
    low = torch.maximum(boxes[:, None, :2], others[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], others[None, :, 2:])
    sides = (high - low + offset).clamp_(min=0)
    intersection = sides[..., 0] * sides[..., 1]
    return intersection / (areas[:, None] + other_areas[None, :] - intersection)
