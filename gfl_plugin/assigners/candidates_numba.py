"""The search for candidates on a grid on a CPU, in loops compiled by Numba.

The overhead of dozens of PyTorch operations would be larger than the computation.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import prange

from ..ops.box_geometry import centers
from ..ops.numba_kernel import inlined
from ..ops.numba_loops import threaded
from ..structures.grid import Grid
from ..structures.ground_truths import GroundTruths
from ..structures.valid_regions import ValidRegions
from .candidate_set import EPSILON, INSIDE, Candidates, IoUCalculator

_OBJECTS = 32  # per task of a thread
_FAR, _ZERO, _TWO = np.float32(np.inf), np.float32(0), np.float32(2)


@inlined()
def _nearest_steps(position, base, stride, low, end, steps, distances):
    """Fill ``steps`` with the nearest steps of [low, end), nearest first; missing ones have infinite distances."""
    right = np.int64(min(max(np.ceil((position - base) / stride), np.float32(low)), np.float32(end)))
    left = right - 1
    for rank in range(steps.size):
        to_left = abs(base + np.float32(left) * stride - position) if left >= low else _FAR
        to_right = abs(base + np.float32(right) * stride - position) if right < end else _FAR
        if to_left <= to_right:
            steps[rank], distances[rank] = left, to_left
            left -= 1
        else:
            steps[rank], distances[rank] = right, to_right
            right += 1


@inlined()
def _nearest_cells(x_steps, y_steps, x_apart, y_apart, columns, rows, squared):
    """Fill the last three arguments with the nearest pairs of a column and a row, by squared distance."""
    topk = squared.size
    squared[:] = _FAR
    columns[:], rows[:] = 0, 0
    for i in range(topk):
        for j in range(topk // (i + 1)):
            value = x_apart[i] * x_apart[i] + y_apart[j] * y_apart[j]
            if not value < squared[topk - 1]:
                break  # the other rows of this column are farther
            place = topk - 1
            while place > 0 and value < squared[place - 1]:
                squared[place] = squared[place - 1]
                columns[place], rows[place] = columns[place - 1], rows[place - 1]
                place -= 1
            squared[place], columns[place], rows[place] = value, x_steps[i], y_steps[j]


@inlined()
def _iou(a, b, epsilon):
    """IoU of two boxes; the union is clamped to at least ``epsilon``."""
    width = max(min(a[2], b[2]) - max(a[0], b[0]), _ZERO)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), _ZERO)
    overlap = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap
    return overlap / max(union, epsilon)


@threaded()
def _search(
    objects,
    object_centers,
    image,
    first,
    end,
    base_prior,
    base_center,
    stride,
    widths,
    starts,
    margin,
    epsilon,
    prior,
    distance,
    iou,
    inside,
):
    """Fill the last four arguments, (G, L, topk). The cache depends on this file only: constants are arguments."""
    topk = prior.shape[2]
    for task in prange((len(objects) + _OBJECTS - 1) // _OBJECTS):
        x_steps, x_apart = np.empty(topk, np.int64), np.empty(topk, np.float32)
        y_steps, y_apart = np.empty(topk, np.int64), np.empty(topk, np.float32)
        columns, rows, squared = np.empty(topk, np.int64), np.empty(topk, np.int64), np.empty(topk, np.float32)
        for index in range(task * _OBJECTS, min((task + 1) * _OBJECTS, len(objects))):
            own, x, y = image[index], object_centers[index, 0], object_centers[index, 1]
            box = (objects[index, 0], objects[index, 1], objects[index, 2], objects[index, 3])
            for level in range(len(stride)):
                step = stride[level]
                low, high = np.int64(first[0, own, level]), np.int64(end[0, own, level])
                _nearest_steps(x, base_center[level, 0], step, low, high, x_steps, x_apart)
                low, high = np.int64(first[1, own, level]), np.int64(end[1, own, level])
                _nearest_steps(y, base_center[level, 1], step, low, high, y_steps, y_apart)
                _nearest_cells(x_steps, y_steps, x_apart, y_apart, columns, rows, squared)
                for slot in range(topk):
                    right, down = np.float32(columns[slot]) * step, np.float32(rows[slot]) * step
                    cell = (
                        base_prior[level, 0] + right,
                        base_prior[level, 1] + down,
                        base_prior[level, 2] + right,
                        base_prior[level, 3] + down,
                    )
                    middle_x, middle_y = (cell[0] + cell[2]) / _TWO, (cell[1] + cell[3]) / _TWO
                    near_x, near_y = (
                        min(middle_x - box[0], box[2] - middle_x),
                        min(middle_y - box[1], box[3] - middle_y),
                    )
                    prior[index, level, slot] = starts[level] + rows[slot] * widths[level] + columns[slot]
                    iou[index, level, slot] = _iou(cell, box, epsilon)
                    inside[index, level, slot] = min(near_x, near_y) > margin
                    distance[index, level, slot] = np.sqrt(squared[slot])


def candidates_on_grid(
    truths: GroundTruths, grid: Grid, regions: ValidRegions, topk: int, iou_calculator: IoUCalculator
) -> Candidates:
    """Find the topk priors of each level that are nearest to each object's center, nearest first.

    Args:
        truths: the objects, with fp32 boxes on a CPU.
        grid: the priors.
        regions: the valid part of each level for each image.
        topk: number of priors per level.
        iou_calculator: not used, since this function computes MMDetection's IoU; other searches need it.

    Returns:
        The candidates, topk slots per level.
    """
    shape = (len(truths), grid.num_levels, topk)
    prior = torch.empty(shape, dtype=torch.int64)
    distance, iou, inside = torch.empty(shape), torch.empty(shape), torch.empty(shape, dtype=torch.bool)
    inputs = (truths.boxes, centers(truths.boxes), truths.image, regions.first, regions.end)
    inputs += (grid.base_prior, grid.base_center, grid.stride, grid.width, grid.start)
    _search(
        *(tensor.numpy() for tensor in inputs),
        np.float32(INSIDE),
        np.float32(EPSILON),
        *(tensor.numpy() for tensor in (prior, distance, iou, inside)),
    )
    distance = distance.flatten(1)
    return Candidates(
        prior=prior.flatten(1),
        distance=distance,
        iou=iou.flatten(1),
        inside=inside.flatten(1),
        valid=distance < float("inf"),
        counts=(topk,) * grid.num_levels,
    )
