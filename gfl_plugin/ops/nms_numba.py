"""Greedy suppression in loops compiled by Numba: each box is compared with the kept boxes of its group only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .numba_kernel import inlined, kernel

_ZERO = np.float32(0)


@inlined()
def _suppressed(box, area, kept, count, threshold, offset):
    """Whether one of the first ``count`` kept boxes overlaps a box too much. Rows of ``kept``: x1, y1, x2, y2, area."""
    # 64 at a time without a branch between them, so that the comparisons vectorize.
    for start in range(0, count, 64):
        hits = 0
        part = kept[:, start : min(start + 64, count)]
        for i in range(part.shape[1]):
            width = max(min(box[2], part[2, i]) - max(box[0], part[0, i]) + offset, _ZERO)
            height = max(min(box[3], part[3, i]) - max(box[1], part[1, i]) + offset, _ZERO)
            overlap = width * height
            hits += overlap / (area + part[4, i] - overlap) > threshold
        if hits:
            return True
    return False


@kernel(error_model="numpy")
def _greedy(boxes, bounds, threshold, offset, limit, keep):
    """Fill ``keep``; group i is the rows from bounds[i] to bounds[i + 1], sorted by descending score."""
    for group in range(len(bounds) - 1):
        first, end = bounds[group], bounds[group + 1]
        kept = np.empty((5, min(limit, end - first)), np.float32)
        count = 0
        keep[first:end] = False
        for index in range(first, end):
            box = boxes[index]
            area = (box[2] - box[0] + offset) * (box[3] - box[1] + offset)
            if not _suppressed(box, area, kept, count, threshold, offset):
                keep[index] = True
                kept[:4, count], kept[4, count] = box, area
                count += 1
                if count == limit:
                    break


def keep(boxes: Tensor, iou_threshold: float, offset: int, bounds: Sequence[int], limit: int) -> Tensor:
    """Whether each of the boxes is kept.

    Args:
        boxes: (N, 4) fp32 on a CPU, x1, y1, x2, y2; group after group, each sorted by descending score.
        iou_threshold: in [0, 1]; a box with an IoU equal to it is kept.
        offset: added to widths and heights, 0 or 1.
        bounds: the index of the first box of each group, and N.
        limit: maximum per group, >= 1.

    Returns:
        (N,) bool.
    """
    kept = torch.empty(len(boxes), dtype=torch.bool)
    _greedy(
        boxes.detach().numpy(), np.array(bounds), np.float32(iou_threshold), np.float32(offset), limit, kept.numpy()
    )
    return kept
