"""The priors nearest each object's center: the candidates of ATSS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from mmdet.models.task_modules.assigners import BboxOverlaps2D
from torch import Tensor

from ..ops.backend import installed
from ..ops.box_geometry import aligned_iou, centers
from ..ops.host_values import host_tensor, on_host
from ..ops.tensor_cache import cached
from ..structures.grid import Grid
from ..structures.ground_truths import GroundTruths
from ..structures.valid_regions import ValidRegions

# The distance MMDetection gives to ignored priors: chosen only where a level has no other.
IGNORED = 1e8
# How far inside its object a positive's center lies, in pixels (exclusive).
INSIDE = 0.01
# MMDetection's overlap function takes no union to be smaller.
EPSILON = 1e-6

IoUCalculator = Callable[..., Tensor]


@dataclass(frozen=True)
class Candidates:
    """The priors each object may choose from: M slots an object, level after level."""

    prior: Tensor  # (G, M) number of the prior in its image, 0 … A-1, int64
    distance: Tensor  # (G, M) from the object's center to the prior's, pixels
    iou: Tensor  # (G, M) of prior and object
    inside: Tensor  # (G, M) bool, whether the prior's center lies inside the object
    valid: Tensor  # (G, M) bool; False where a level has fewer priors than slots
    counts: tuple[int, ...]  # slots of each level, M together

    def threshold(self) -> Tensor:
        """(G,) mean + unbiased standard deviation of the valid candidates' IoUs, fp64; 0 deviation for one candidate.

        In double precision equal IoUs have exactly their value as mean, so that none falls below by rounding.
        """
        iou = self.iou.double()
        count = self.valid.sum(dim=1)
        mean = torch.where(self.valid, iou, 0.0).sum(dim=1) / count.clamp(min=1)
        square = torch.where(self.valid, iou - mean[:, None], 0.0).square().sum(dim=1)
        return mean + (square / (count - 1).clamp(min=1)).sqrt()


def candidates_on_grid(
    truths: GroundTruths, grid: Grid, regions: ValidRegions, topk: int, iou_calculator: IoUCalculator
) -> Candidates:
    """The topk priors of each level nearest each object's center, the nearest first.

    The location of i-th nearest column and j-th nearest row has i·j locations at least as near, itself among them; so
    the topk nearest are among the pairs with i·j <= topk.
    """
    if on_host(truths.boxes) and _is_plain(iou_calculator) and installed("numba"):
        from .candidates_numba import candidates_on_grid as compiled

        found = compiled(truths, grid, regions, topk)
    else:
        found = _in_operations(truths, grid, regions, topk, iou_calculator)
    return _without_empty_levels(found, grid)


def _in_operations(
    truths: GroundTruths, grid: Grid, regions: ValidRegions, topk: int, iou_calculator: IoUCalculator
) -> Candidates:
    """:func:`candidates_on_grid` in PyTorch's operations, as a GPU does it."""
    # Columns and rows are two of the same kind: (2, G, L) throughout.
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
    return _measured(
        truths.boxes,
        prior=torch.where(valid, prior, grid.start[:, None]).flatten(1),
        prior_boxes=boxes,
        distance=squared.sqrt().flatten(1),
        counts=(topk,) * grid.num_levels,
        iou_calculator=iou_calculator,
    )


def _without_empty_levels(candidates: Candidates, grid: Grid) -> Candidates:
    """The candidates without the slots of levels that have no location; nothing of theirs could be read."""
    counts = tuple(count * (height * width > 0) for count, (height, width) in zip(candidates.counts, grid.sizes))
    if counts == candidates.counts:
        return candidates

    def kept(rows: Tensor) -> Tensor:
        levels = rows.split_with_sizes(candidates.counts, dim=1)
        return torch.cat([level[:, :count] for level, count in zip(levels, counts)], dim=1)

    parts = (candidates.prior, candidates.distance, candidates.iou, candidates.inside, candidates.valid)
    return Candidates(*map(kept, parts), counts=counts)


def _ascending(values: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers >= 0 sorted along the last dimension, and where each was; equal ones keep their order."""
    # The bits of floats >= 0 order as their values do, so that one integer holds value and place.
    keys = (values.view(torch.int32).long() << 16) + torch.arange(values.shape[-1], device=values.device)
    keys = keys.sort(dim=-1).values
    return (keys >> 16).int().view(torch.float32), keys & 0xFFFF


@cached(maxsize=8)
def _rank_pairs(topk: int, device: torch.device) -> Tensor:
    """(2, pairs) all (i, j) >= 0 with (i + 1)·(j + 1) <= topk."""
    pairs = [(i, j) for i in range(topk) for j in range(topk // (i + 1))]
    return host_tensor(pairs, torch.int64, device).t().contiguous()


def candidates_in_list(
    boxes: Tensor,
    priors: Tensor,
    starts: Sequence[int],
    topk: int,
    owned: Tensor,
    blocked: Tensor,
    iou_calculator: IoUCalculator,
) -> Candidates:
    """As :func:`candidates_on_grid`, for priors that lie anywhere: O(G·A).

    Args:
        boxes: (G, 4).
        priors: (A, 4).
        starts: where each level's priors start, and A.
        owned: (G, A) bool, priors that exist for an object.
        blocked: (G, A) bool, priors taken only when a level has no others.
    """
    distance = (centers(priors)[None] - centers(boxes)[:, None]).square().sum(dim=-1).sqrt()
    distance = distance.masked_fill(blocked, IGNORED).masked_fill(~owned, float("inf"))
    sizes = [end - start for start, end in zip(starts[:-1], starts[1:])]
    counts = tuple(min(topk, size) for size in sizes)
    levels = distance.split(sizes, dim=1)
    per_level = [level.topk(count, dim=1, largest=False) for level, count in zip(levels, counts)]
    values = torch.cat([found.values for found in per_level], dim=1)
    prior = torch.cat([found.indices + start for found, start in zip(per_level, starts)], dim=1)
    return _measured(boxes, prior, priors[prior], values, counts, iou_calculator)


def _measured(
    boxes: Tensor,
    prior: Tensor,
    prior_boxes: Tensor,
    distance: Tensor,
    counts: tuple[int, ...],
    iou_calculator: IoUCalculator,
) -> Candidates:
    """Candidates, their overlaps and places measured: (G, 4) objects and (G, M, 4) priors."""
    repeated = boxes[:, None].expand_as(prior_boxes)
    if _is_plain(iou_calculator):
        iou = aligned_iou(prior_boxes, repeated, EPSILON)
    else:
        iou = iou_calculator(prior_boxes.reshape(-1, 4), repeated.reshape(-1, 4), is_aligned=True)
    center = centers(prior_boxes)
    nearest_side = torch.minimum((center - repeated[..., :2]).amin(-1), (repeated[..., 2:] - center).amin(-1))
    return Candidates(
        prior=prior,
        distance=distance,
        iou=iou.float().view(prior.shape),
        inside=nearest_side > INSIDE,
        valid=distance < float("inf"),
        counts=counts,
    )


def _is_plain(iou_calculator: IoUCalculator) -> bool:
    """Whether it is MMDetection's IoU, in the boxes' own precision."""
    return type(iou_calculator) is BboxOverlaps2D and iou_calculator.dtype is None


def all_priors(grid: Grid) -> Tensor:
    """(A, 4) all prior boxes of an image."""
    boxes = []
    for (height, width), base, stride in zip(grid.sizes, grid.base_prior, grid.stride):
        row, column = torch.meshgrid(
            torch.arange(height, device=grid.device), torch.arange(width, device=grid.device), indexing="ij"
        )
        shift = torch.stack([column, row, column, row], dim=-1) * stride
        boxes.append((base + shift).view(-1, 4))
    return torch.cat(boxes)
