"""FCOS's assignment (Tian et al., arXiv 1904.01355, Section 3.2): points inside a box, within a level's scale range."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..registry import TASK_UTILS
from ..structures.grid import Grid
from ..structures.ground_truths import GroundTruths
from ..structures.positives import Positives
from ..structures.valid_regions import ValidRegions
from .base import BatchAssignment, Predictions

# Per level of a pyramid from stride 8: least and largest distance in pixels to the farthest side of an object.
FCOS_RANGES = ((-1, 64), (64, 128), (128, 256), (256, 512), (512, math.inf))


@TASK_UTILS.register_module()
class FCOSAssigner:
    """Assigns to a location the smallest object that contains its center and whose scale is in the range of its level.

    The scale of an object at a location is the largest distance to its four sides. For equal areas, the first object is
    assigned. Centers are those of the grid: FCOS shifts them by half a stride from the origin
    (``anchor_generator.center_offset=0.5``).

    Args:
        regress_ranges: least and largest scale in pixels of each level, inclusive.
        center_sample_radius: if given, only centers at less than this distance from the object's center are assigned,
            in strides.

    Raises:
        ValueError: if a range is empty.
    """

    def __init__(
        self,
        regress_ranges: Sequence[Sequence[float]] = FCOS_RANGES,
        center_sample_radius: float | None = None,
    ) -> None:
        for low, high in regress_ranges:
            if not low < high:
                raise ValueError(
                    f"regress_ranges contains ({low}, {high}); each range must be (least, largest) in pixels"
                )
        self.regress_ranges = tuple((float(low), float(high)) for low, high in regress_ranges)
        self.center_sample_radius = center_sample_radius

    def assign_batch(
        self,
        ground_truths: GroundTruths,
        ignored: GroundTruths | None,
        grid: Grid,
        valid_regions: ValidRegions,
        predictions: Predictions | None = None,
    ) -> BatchAssignment:
        """See :class:`BatchAssigner`. As in MMDetection's FCOS, ignored regions and predictions are not used.

        Counting positives synchronizes the host with the GPU.

        Raises:
            ValueError: if the numbers of ranges and levels differ.
        """
        truths = ground_truths
        if len(self.regress_ranges) != grid.num_levels:
            raise ValueError(
                f"FCOSAssigner has {len(self.regress_ranges)} regress_ranges for {grid.num_levels} levels; write one "
                "(least, largest) per level"
            )
        rows = [self._of_level(truths, grid, mask, level) for level, mask in enumerate(valid_regions.masks(grid))]
        objects = torch.cat([chosen for chosen, _ in rows])
        level = torch.cat([torch.full_like(chosen, number) for number, (chosen, _) in enumerate(rows)])
        location = torch.cat([location for _, location in rows])
        return BatchAssignment(Positives.of(truths.image[objects], level, location, objects, grid.num_levels))

    def _of_level(self, truths: GroundTruths, grid: Grid, mask: Tensor, level: int) -> tuple[Tensor, Tensor]:
        """(P,) object and (P,) location of each positive of a level."""
        height, width = grid.sizes[level]
        stride, (x, y) = grid.stride[level], grid.base_center[level]
        columns = x + stride * torch.arange(width, device=grid.device)
        rows = y + stride * torch.arange(height, device=grid.device)
        # A box is a product of spans, so columns and rows are compared first, and combined for locations.
        near_x, far_x = self._along(truths.boxes[:, 0::2], columns, stride)
        near_y, far_y = self._along(truths.boxes[:, 1::2], rows, stride)
        low, high = self.regress_ranges[level]
        scale = torch.maximum(far_x[:, None, :], far_y[:, :, None])
        assigned = near_x[:, None, :] & near_y[:, :, None] & (scale >= low) & (scale <= high)
        objects, row, column = assigned.nonzero(as_tuple=True)
        image = truths.image[objects]
        owned = mask[image, row, column] > 0
        objects, image, location = objects[owned], image[owned], (row * width + column)[owned]
        return self._smallest(
            truths, objects, image * (height * width) + location, location, len(mask) * height * width
        )

    def _along(self, spans: Tensor, points: Tensor, stride: Tensor) -> tuple[Tensor, Tensor]:
        """(G, 2) sides and (S,) points of one axis -> (G, S) whether inside, and distance to the farther side."""
        before, after = points - spans[:, :1], spans[:, 1:] - points
        near = torch.minimum(before, after)
        if self.center_sample_radius is not None:
            reach = self.center_sample_radius * stride
            center = (spans[:, :1] + spans[:, 1:]) / 2
            low = torch.maximum(center - reach, spans[:, :1])
            high = torch.minimum(center + reach, spans[:, 1:])
            near = torch.minimum(points - low, high - points)
        return near > 0, torch.maximum(before, after)

    def _smallest(
        self, truths: GroundTruths, objects: Tensor, slot: Tensor, location: Tensor, num_slots: int
    ) -> tuple[Tensor, Tensor]:
        """Select the smallest of several objects at one location."""
        sides = truths.boxes[:, 2:] - truths.boxes[:, :2]
        order = (sides[:, 0] * sides[:, 1]).argsort(stable=True)
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(order), device=order.device)
        best = rank.new_full((num_slots,), len(order)).scatter_reduce_(0, slot, rank[objects], "amin")
        won = rank[objects] == best[slot]
        return objects[won], location[won]
