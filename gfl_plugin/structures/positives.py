"""The locations that are assigned to an object, as a sparse list."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..ops.backend import Kernels
from ..ops.buffer_pool import zeros
from ..ops.host_values import host_tensor, on_host


@dataclass(frozen=True)
class Positives:
    """Locations and the objects assigned to them: one row per positive, level after level.

    Rows that are not ``active`` have no effect. They are candidates that were not selected, kept on a GPU because
    dropping them would synchronize with the host; on a CPU there are none.
    """

    image: Tensor  # (P,) index of the image in the batch, int64
    level: Tensor  # (P,) int64, ascending
    location: Tensor  # (P,) row-major index in the level's grid, int64
    gt_index: Tensor  # (P,) row in GroundTruths, int64
    active: Tensor  # (P,) bool; active rows have distinct (image, level, location)
    counts: tuple[int, ...]  # rows of each level

    @staticmethod
    def of(image: Tensor, level: Tensor, location: Tensor, gt_index: Tensor, num_levels: int) -> Positives:
        """Positives from rows in any order. Counting them synchronizes with a GPU.

        Args:
            image: (P,) index of the image in the batch.
            level: (P,) index of the level.
            location: (P,) row-major index in the level's grid.
            gt_index: (P,) row in GroundTruths.
            num_levels: levels of the pyramid.

        Returns:
            The positives, all active, sorted by level.

        Raises:
            ValueError: if two rows have the same location of an image (checked on a CPU only).
        """
        order = level.sort(stable=True).indices
        image, level, location, gt_index = (rows[order] for rows in (image, level, location, gt_index))
        if on_host(location) and len(torch.stack([image, level, location]).unique(dim=1).t()) < len(location):
            raise ValueError(
                "an assigner gave one location of an image to two objects; give each location to one of them, such as "
                "the one it overlaps most"
            )
        counts = tuple(torch.bincount(level, minlength=num_levels).tolist())
        return Positives(image, level, location, gt_index, torch.ones_like(image, dtype=torch.bool), counts)

    def per_level(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Split values by level.

        Args:
            rows: (P, ...) one value per positive.

        Returns:
            One tensor per level.
        """
        return rows.split_with_sizes(self.counts)

    def level_sums(self, rows: Tensor) -> Tensor:
        """Sum values by level, in fp64.

        Args:
            rows: (P,) fp32.

        Returns:
            (L,) fp32.
        """
        if torch.compiler.is_compiling():  # PyTorch 2.13 cannot compile index_add in fp64 for a CPU
            return torch.stack([part.sum() for part in self.per_level(rows)])
        sums = rows.new_zeros(len(self.counts), dtype=torch.float64)
        return sums.index_add(0, self.level, rows.double()).float()

    @property
    def all_active(self) -> bool:
        """Whether all rows are known to be active; False where the host would have to synchronize with a GPU."""
        return on_host(self.active) and bool(self.active.all())

    def elements(self, shapes: Sequence[Sequence[int]], channel: Tensor | None = None) -> Tensor:
        """Offsets of one channel of each positive in its level's contiguous, flattened map.

        Args:
            shapes: (B, D, H, W) of each level; D is the same on all.
            channel: (P,) int64; None for channel 0.

        Returns:
            (P,) int64.
        """
        plane = self.image * shapes[0][1]
        area = self._of_levels([height * width for _, _, height, width in shapes])
        return (plane if channel is None else plane + channel) * area + self.location

    def targets(self, elements: Tensor, shapes: Sequence[Sequence[int]]) -> Tensor:
        """Offsets that may be written to.

        An inactive row may have the location of an active one, so it gets the offset after the level's last element.

        Args:
            elements: (P,) from :meth:`elements`.
            shapes: as in :meth:`elements`.

        Returns:
            (P,) int64.
        """
        if self.all_active:
            return elements
        return torch.where(self.active, elements, self._of_levels([math.prod(shape) for shape in shapes]))

    def _of_levels(self, values: Sequence[int]) -> Tensor:
        """(P,) the value that belongs to each positive's level."""
        return host_tensor(values, torch.int64, self.level.device)[self.level]


def gather_locations(maps: Sequence[Tensor], positives: Positives) -> Tensor:
    """Values of maps at the positives, differentiable once.

    Args:
        maps: L maps (B, D, H, W).
        positives: the locations.

    Returns:
        (P, D) in the maps' dtype.

    Raises:
        RuntimeError: if :func:`gfl_plugin.ops.backend.use_backend` requests a kernel that does not take the maps.
    """
    return _GATHER.for_tensors(maps)(maps, positives)


def highest_at_locations(maps: Sequence[Tensor], positives: Positives) -> Tensor:
    """Highest value of all channels at each positive.

    Args:
        maps: L maps (B, D, H, W), D >= 1.
        positives: the locations.

    Returns:
        (P,) in the maps' dtype, without gradient; NaN where a value is NaN.

    Raises:
        RuntimeError: if :func:`gfl_plugin.ops.backend.use_backend` requests a kernel that does not take the maps.
    """
    return _HIGHEST.for_tensors(maps)(maps, positives)


def _gather(maps: Sequence[Tensor], positives: Positives) -> Tensor:
    """:func:`gather_locations` in PyTorch operations."""
    return _GatherLocations.apply(positives, *maps)


def _highest(maps: Sequence[Tensor], positives: Positives) -> Tensor:
    """:func:`highest_at_locations` in PyTorch operations."""
    return _gather([level.detach() for level in maps], positives).amax(dim=1)


_GATHER = Kernels(torch=_gather, numba="gfl_plugin.structures.positives_numba:gather")
_HIGHEST = Kernels(torch=_highest, numba="gfl_plugin.structures.positives_numba:highest")


class _GatherLocations(torch.autograd.Function):
    """Writes the gradient of each map once: zeros, then the positives' rows."""

    @staticmethod
    def forward(ctx, positives: Positives, *maps: Tensor) -> Tensor:
        ctx.positives = positives
        ctx.like = [(level_map.shape, level_map.dtype, level_map.device) for level_map in maps]
        images, locations = positives.per_level(positives.image), positives.per_level(positives.location)
        rows = [level_map.flatten(2)[i, :, j] for level_map, i, j in zip(maps, images, locations)]
        return torch.cat(rows)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        positives: Positives = ctx.positives
        images = positives.image
        spare = 0 if positives.all_active else 1
        if spare:  # an inactive row may have an active one's location, so it writes to one more image than there are
            images = torch.where(positives.active, images, ctx.like[0][0][0])
        gradients = []
        for (shape, dtype, device), image, location, rows in zip(
            ctx.like, positives.per_level(images), positives.per_level(positives.location), positives.per_level(grad)
        ):
            gradient = zeros((shape[0] + spare, *shape[1:]), dtype, device)
            gradient.flatten(2)[image, :, location] = rows.to(dtype)
            # Where it need not be a view, autograd may add another gradient of the map to it in place.
            gradients.append(gradient[: shape[0]] if spare else gradient)
        return (None, *gradients)
