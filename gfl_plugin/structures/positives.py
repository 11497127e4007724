"""The locations that learn an object, without a dense map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..ops.buffer_pool import zeros
from ..ops.host_values import host_tensor, on_host


@dataclass(frozen=True)
class Positives:
    """Which location learns which object: one row a positive, level after level.

    Rows that are not ``active`` are inert. They are what remains of candidates on a GPU, where dropping them would
    make the host wait; on a CPU there are none.
    """

    image: Tensor  # (P,) int64
    level: Tensor  # (P,) int64, ascending
    location: Tensor  # (P,) row-major index in the level's grid, int64
    gt_index: Tensor  # (P,) row in GroundTruths, int64
    active: Tensor  # (P,) bool; active rows have distinct (image, level, location)
    counts: tuple[int, ...]  # rows of each level

    def per_level(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Split (P, ...) values into one piece a level."""
        return rows.split_with_sizes(self.counts)

    def level_sums(self, rows: Tensor) -> Tensor:
        """(P,) fp32 -> (L,) sum of each level."""
        if torch.compiler.is_compiling():  # PyTorch 2.13 compiles no index_add in fp64 for a CPU
            return torch.stack([part.sum() for part in self.per_level(rows)])
        sums = rows.new_zeros(len(self.counts), dtype=torch.float64)
        return sums.index_add(0, self.level, rows.double()).float()

    @property
    def all_active(self) -> bool:
        """Whether no row is known to be inert; False where looking would wait for a GPU."""
        return on_host(self.active) and bool(self.active.all())

    def elements(self, shapes: Sequence[Sequence[int]], channel: Tensor | None = None) -> Tensor:
        """(P,) where a channel of each positive, the first by default, lies in its level's contiguous map, flat.

        Args:
            shapes: (B, D, H, W) of each level; D is the same on all.
            channel: (P,), or None.
        """
        plane = self.image * shapes[0][1]
        area = self._of_levels([height * width for _, _, height, width in shapes])
        return (plane if channel is None else plane + channel) * area + self.location

    def targets(self, elements: Tensor, shapes: Sequence[Sequence[int]]) -> Tensor:
        """Elements to write to: an inert row may name an active one's, so it gets the one after the level's last."""
        if self.all_active:
            return elements
        return torch.where(self.active, elements, self._of_levels([math.prod(shape) for shape in shapes]))

    def _of_levels(self, values: Sequence[int]) -> Tensor:
        """(P,) the value of each positive's level."""
        return host_tensor(values, torch.int64, self.level.device)[self.level]


def gather_locations(maps: Sequence[Tensor], positives: Positives) -> Tensor:
    """The channels at each positive's location: L maps (B, D, H, W) -> (P, D), differentiable."""
    return _GatherLocations.apply(positives, *maps)


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
        if spare:  # an inert row may name an active one's location, so it writes to an image too many
            images = torch.where(positives.active, images, ctx.like[0][0][0])
        gradients = []
        for (shape, dtype, device), image, location, rows in zip(
            ctx.like, positives.per_level(images), positives.per_level(positives.location), positives.per_level(grad)
        ):
            gradient = zeros((shape[0] + spare, *shape[1:]), dtype, device)
            gradient.flatten(2)[image, :, location] = rows.to(dtype)
            gradients.append(gradient[: shape[0]])
        return (None, *gradients)
