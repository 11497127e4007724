"""The priors nearest to each object's center, which are the candidates of ATSS."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..ops.backend import Kernels
from ..ops.box_geometry import centers
from ..structures.grid import Grid
from ..structures.ground_truths import GroundTruths
from ..structures.valid_regions import ValidRegions
from . import candidates_torch
from .candidate_set import Candidates, IoUCalculator, is_plain_iou, measured

__all__ = ["IGNORED", "Candidates", "all_priors", "candidates_in_list", "candidates_on_grid"]

# The distance of ignored priors in MMDetection: they are selected only if a level has no others.
IGNORED = 1e8

_SEARCH = Kernels(
    torch=candidates_torch.candidates_on_grid,
    numba="gfl_plugin.assigners.candidates_numba:candidates_on_grid",
)
_SEARCH_ANY_IOU = Kernels(torch=candidates_torch.candidates_on_grid)


def candidates_on_grid(
    truths: GroundTruths, grid: Grid, regions: ValidRegions, topk: int, iou_calculator: IoUCalculator
) -> Candidates:
    """Find the topk priors of each level that are nearest to each object's center, nearest first.

    Args:
        truths: the objects.
        grid: the priors.
        regions: the valid part of each level for each image.
        topk: number of priors per level.
        iou_calculator: IoU with MMDetection's interface.

    Returns:
        The candidates: topk slots per level, none for a level without a location.

    Raises:
        RuntimeError: if :func:`gfl_plugin.ops.backend.use_backend` requests a kernel that does not take the boxes.
    """
    kernels = _SEARCH if is_plain_iou(iou_calculator) else _SEARCH_ANY_IOU
    found = kernels.for_tensor(truths.boxes)(truths, grid, regions, topk, iou_calculator)
    return _without_empty_levels(found, grid)


def _without_empty_levels(candidates: Candidates, grid: Grid) -> Candidates:
    """Remove the slots of levels without locations, since their contents are undefined."""
    counts = tuple(count * (height * width > 0) for count, (height, width) in zip(candidates.counts, grid.sizes))
    if counts == candidates.counts:
        return candidates

    def kept(rows: Tensor) -> Tensor:
        levels = rows.split_with_sizes(candidates.counts, dim=1)
        return torch.cat([level[:, :count] for level, count in zip(levels, counts)], dim=1)

    parts = (candidates.prior, candidates.distance, candidates.iou, candidates.inside, candidates.valid)
    return Candidates(*map(kept, parts), counts=counts)


def candidates_in_list(
    boxes: Tensor,
    priors: Tensor,
    starts: Sequence[int],
    topk: int,
    owned: Tensor,
    blocked: Tensor,
    iou_calculator: IoUCalculator,
) -> Candidates:
    """Like :func:`candidates_on_grid`, for priors at arbitrary positions, in O(G·A).

    Args:
        boxes: (G, 4) objects.
        priors: (A, 4) prior boxes.
        starts: index of the first prior of each level, and A.
        topk: number of priors per level.
        owned: (G, A) bool, priors that exist for an object.
        blocked: (G, A) bool, priors that are selected only if a level has no others.
        iou_calculator: IoU with MMDetection's interface.

    Returns:
        The candidates: topk slots per level, fewer for a level with fewer priors.
    """
    distance = (centers(priors)[None] - centers(boxes)[:, None]).square().sum(dim=-1).sqrt()
    distance = distance.masked_fill(blocked, IGNORED).masked_fill(~owned, float("inf"))
    sizes = [end - start for start, end in zip(starts[:-1], starts[1:])]
    counts = tuple(min(topk, size) for size in sizes)
    levels = distance.split(sizes, dim=1)
    per_level = [level.topk(count, dim=1, largest=False) for level, count in zip(levels, counts)]
    values = torch.cat([found.values for found in per_level], dim=1)
    prior = torch.cat([found.indices + start for found, start in zip(per_level, starts)], dim=1)
    return measured(boxes, prior, priors[prior], values, counts, iou_calculator)


def all_priors(grid: Grid) -> Tensor:
    """Create all prior boxes of an image.

    Args:
        grid: locations of the pyramid.

    Returns:
        (A, 4), x1, y1, x2, y2, in the order of MMDetection's ``grid_priors``.
    """
    boxes = []
    for (height, width), base, stride in zip(grid.sizes, grid.base_prior, grid.stride):
        row, column = torch.meshgrid(
            torch.arange(height, device=grid.device), torch.arange(width, device=grid.device), indexing="ij"
        )
        shift = torch.stack([column, row, column, row], dim=-1) * stride
        boxes.append((base + shift).view(-1, 4))
    return torch.cat(boxes)
