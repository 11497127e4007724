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
from .base import BatchAssignment

# Each level learns the objects whose farthest side is this many pixels away, of a pyramid from stride 8.
FCOS_RANGES = ((-1, 64), (64, 128), (128, 256), (256, 512), (512, math.inf))


@TASK_UTILS.register_module()
class FCOSAssigner:
    """A location learns the smallest object that its center lies in and whose scale is its level's.

    The scale of an object at a location is the largest distance to its four sides. A tie in area goes to the object
    that comes first. The centers are the grid's: FCOS's own lie half a stride off the origin, which is
    ``anchor_generator.center_offset=0.5``.

    Args:
        regress_ranges: least and largest scale in pixels of each level, both included.
        center_sample_radius: where given, only centers less than this many strides from the object's center learn it.

    Raises:
        ValueError: for a range that is empty, or another number of ranges than of levels.
    """

    def __init__(
        self,
        regress_ranges: Sequence[Sequence[float]] = FCOS_RANGES,
        center_sample_radius: float | None = None,
    ) -> None:
        for low, high in regress_ranges:
            if not low < high:
                raise ValueError(f"regress_ranges holds ({low}, {high}); each must be (least, largest) in pixels")
        self.regress_ranges = tuple((float(low), float(high)) for low, high in regress_ranges)
        self.center_sample_radius = center_sample_radius

    def assigned(
        self,
        truths: GroundTruths,
        to_ignore: GroundTruths | None,
        grid: Grid,
        regions: ValidRegions,
        predictions: object = None,
    ) -> BatchAssignment:
        """Assign all objects of a batch; as in MMDetection's FCOS, regions to ignore are not looked at.

        Counting positives makes the host wait for a GPU.
        """
        if len(self.regress_ranges) != grid.num_levels:
            raise ValueError(
                f"FCOSAssigner has {len(self.regress_ranges)} regress_ranges for {grid.num_levels} levels; give one "
                "(least, largest) a level"
            )
        rows = [self._of_level(truths, grid, mask, level) for level, mask in enumerate(regions.masks(grid))]
        objects = torch.cat([chosen for chosen, _ in rows])
        counts = tuple(len(chosen) for chosen, _ in rows)
        positives = Positives(
            image=truths.image[objects],
            level=torch.cat([objects.new_full((count,), level) for level, count in enumerate(counts)]),
            location=torch.cat([location for _, location in rows]),
            gt_index=objects,
            active=torch.ones_like(objects, dtype=torch.bool),
            counts=counts,
        )
        return BatchAssignment(positives, None)

    def _of_level(self, truths: GroundTruths, grid: Grid, mask: Tensor, level: int) -> tuple[Tensor, Tensor]:
        """(P,) object and (P,) location of each positive of a level."""
        height, width = grid.sizes[level]
        stride, (x, y) = grid.stride[level], grid.base_center[level]
        columns = x + stride * torch.arange(width, device=grid.device)
        rows = y + stride * torch.arange(height, device=grid.device)
        # A box is a product of spans, so everything is asked of columns and rows before it is asked of locations.
        near_x, far_x = self._along(truths.boxes[:, 0::2], columns, stride)
        near_y, far_y = self._along(truths.boxes[:, 1::2], rows, stride)
        low, high = self.regress_ranges[level]
        scale = torch.maximum(far_x[:, None, :], far_y[:, :, None])
        learns = near_x[:, None, :] & near_y[:, :, None] & (scale >= low) & (scale <= high)
        objects, row, column = learns.nonzero(as_tuple=True)
        image = truths.image[objects]
        owned = mask[image, row, column] > 0
        objects, image, location = objects[owned], image[owned], (row * width + column)[owned]
        return self._smallest(
            truths, objects, image * (height * width) + location, location, len(mask) * height * width
        )

    def _along(self, spans: Tensor, points: Tensor, stride: Tensor) -> tuple[Tensor, Tensor]:
        """(G, 2) sides and (S,) points of one axis -> (G, S) whether inside, and the farther side's distance."""
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
        """Of the claims on one slot, the smallest object's."""
        sides = truths.boxes[:, 2:] - truths.boxes[:, :2]
        order = (sides[:, 0] * sides[:, 1]).argsort(stable=True)
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(order), device=order.device)
        best = rank.new_full((num_slots,), len(order)).scatter_reduce_(0, slot, rank[objects], "amin")
        won = rank[objects] == best[slot]
        return objects[won], location[won]
