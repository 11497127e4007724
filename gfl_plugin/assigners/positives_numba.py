"""Positives among the candidates of ATSS on a CPU, in loops compiled by Numba: conflicts, and the list of positives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..ops.numba_kernel import kernel
from ..structures.grid import Grid
from ..structures.ground_truths import GroundTruths
from ..structures.positives import Positives


@kernel(error_model="numpy")
def _won(selected, prior, iou, image, best, won):
    """Fill ``won`` (G, M): candidates that no other object's selected candidate beats. ``best`` (B, A) is scratch."""
    for index in range(len(selected)):
        for slot in range(selected.shape[1]):
            if selected[index, slot]:
                best[image[index], prior[index, slot]] = -1
    # An earlier object keeps a prior at equal IoUs.
    for index in range(len(selected)):
        for slot in range(selected.shape[1]):
            if selected[index, slot]:
                place = prior[index, slot]
                holder = best[image[index], place]
                if holder < 0 or iou[index, slot] > iou[holder // selected.shape[1], holder % selected.shape[1]]:
                    best[image[index], place] = index * selected.shape[1] + slot
    for index in range(len(selected)):
        for slot in range(selected.shape[1]):
            own = index * selected.shape[1] + slot
            won[index, slot] = selected[index, slot] and best[image[index], prior[index, slot]] == own


@kernel(error_model="numpy")
def _listed(positive, prior, image, starts, ends, level_starts, rows, counts):
    """Fill the first columns of ``rows`` (4, G·M) with image, level, location and object, and ``counts`` (L,)."""
    total = 0
    for level in range(len(starts)):
        before = total
        for index in range(len(positive)):
            for slot in range(starts[level], ends[level]):
                if positive[index, slot]:
                    rows[0, total], rows[1, total] = image[index], level
                    rows[2, total], rows[3, total] = prior[index, slot] - level_starts[level], index
                    total += 1
        counts[level] = total - before


def won(selected: Tensor, prior: Tensor, iou: Tensor, truths: GroundTruths, num_priors: int) -> Tensor:
    """Selected candidates without those that a better object has; see :attr:`.ATSSAssignment.won`.

    Args:
        selected: (G, M) bool on a CPU.
        prior: (G, M) index of each candidate in its image.
        iou: (G, M) fp32.
        truths: the objects.
        num_priors: A, of one image.

    Returns:
        (G, M) bool.
    """
    best = torch.empty(len(truths.counts), num_priors, dtype=torch.int64)
    out = torch.empty_like(selected)
    _won(*(tensor.contiguous().numpy() for tensor in (selected, prior, iou, truths.image, best, out)))
    return out


def listed(positive: Tensor, prior: Tensor, counts: Sequence[int], truths: GroundTruths, grid: Grid) -> Positives:
    """The positives, level by level and object by object.

    Args:
        positive: (G, M) bool on a CPU, the positive candidates.
        prior: (G, M) index of each candidate in its image.
        counts: candidates of an object per level.
        truths: the objects.
        grid: the grid of the candidates.

    Returns:
        The positives, all active.
    """
    ends = np.cumsum(counts)
    total = int(positive.sum())
    rows, per_level = torch.empty(4, total, dtype=torch.int64), np.empty(len(counts), np.int64)
    inputs = (tensor.contiguous().numpy() for tensor in (positive, prior, truths.image))
    _listed(*inputs, ends - counts, ends, grid.start.numpy(), rows.numpy(), per_level)
    image, level, location, gt_index = rows.unbind()
    return Positives(
        image, level, location, gt_index, torch.ones(total, dtype=torch.bool), counts=tuple(per_level.tolist())
    )
