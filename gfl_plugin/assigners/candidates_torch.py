"""The search for candidates on a grid in PyTorch operations, for any device and IoU."""

from __future__ import annotations

import torch
from torch import Tensor

from ..ops.box_geometry import centers
from ..ops.host_values import host_tensor
from ..ops.tensor_cache import cached
from ..structures.grid import Grid
from ..structures.ground_truths import GroundTruths
from ..structures.valid_regions import ValidRegions
from .candidate_set import Candidates, IoUCalculator, measured


def candidates_on_grid(
    truths: GroundTruths, grid: Grid, regions: ValidRegions, topk: int, iou_calculator: IoUCalculator
) -> Candidates:
    """Find the topk priors of each level that are nearest to each object's center, nearest first.

    At least i·j locations, including itself, are at most as far as the location in the i-th nearest column and the j-th
    nearest row. Therefore, the topk nearest are among the pairs with i·j <= topk.

    Args:
        truths: the objects.
        grid: the priors.
        regions: the valid part of each level for each image.
        topk: number of priors per level.
        iou_calculator: IoU with MMDetection's interface.

    Returns:
        The candidates, topk slots per level.
    """
    # The first dimension of these tensors is columns and rows: (2, G, L).
    center = centers(truths.boxes).t()[..., None]
    base, stride = grid.base_center.t()[:, None], grid.stride
    low, end = regions.first[:, truths.image], regions.end[:, truths.image]
    first = ((center - base) / stride - topk / 2).ceil()
    first = first.clamp(min=low, max=torch.maximum(end - topk, low))[..., None]
    step = first + torch.arange(topk, device=grid.device)
    distance = (base[..., None] + step * stride[:, None] - center[..., None]).abs()
    distance, nearest = _ascending(torch.where(step < end[..., None], distance, float("inf")))
    pairs = _rank_pairs(topk, grid.device)
    x_squared, y_squared = distance * distance
    squared, pair = _ascending(x_squared.index_select(-1, pairs[0]) + y_squared.index_select(-1, pairs[1]))
    squared = squared[..., :topk]
    valid = squared < float("inf")
    step = first + nearest.gather(-1, pairs[:, pair[..., :topk]])
    column, row = step.long()
    prior = row * grid.width[:, None] + column + grid.start[:, None]
    shift = (step * stride[:, None]).permute(1, 2, 3, 0)
    boxes = (grid.base_prior[:, None] + torch.cat([shift, shift], dim=-1)).flatten(1, 2)
    return measured(
        truths.boxes,
        prior=torch.where(valid, prior, grid.start[:, None]).flatten(1),
        prior_boxes=boxes,
        distance=squared.sqrt().flatten(1),
        counts=(topk,) * grid.num_levels,
        iou_calculator=iou_calculator,
    )


def _ascending(values: Tensor) -> tuple[Tensor, Tensor]:
    """Sort numbers >= 0 along the last dimension; returns values and indices. The sort is stable."""
    # Floats >= 0 have the same order as their bits, so that one integer contains value and index.
    keys = (values.view(torch.int32).long() << 16) + torch.arange(values.shape[-1], device=values.device)
    keys = keys.sort(dim=-1).values
    return (keys >> 16).int().view(torch.float32), keys & 0xFFFF


@cached(maxsize=8)
def _rank_pairs(topk: int, device: torch.device) -> Tensor:
    """(2, pairs) all (i, j) >= 0 with (i + 1)·(j + 1) <= topk."""
    pairs = [(i, j) for i in range(topk) for j in range(topk // (i + 1))]
    return host_tensor(pairs, torch.int64, device).t().contiguous()
