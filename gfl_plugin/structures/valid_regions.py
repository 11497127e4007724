"""The part of each level that belongs to each image of a padded batch."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..ops.host_values import host_tensor
from ..ops.tensor_cache import cached
from .grid import Grid


@dataclass(frozen=True)
class ValidRegions:
    """The part of each level that belongs to each image, as a batch is padded to its largest image."""

    # (2, B, L) first and end (exclusive) columns, then rows; integers in fp32, as they are compared with coordinates.
    first: Tensor
    end: Tensor
    whole: bool  # whether all locations of all levels belong to every image

    @staticmethod
    def of(grid: Grid, metas: Sequence[dict], allowed_border: float = -1) -> ValidRegions:
        """The regions according to MMDetection's image metas and rules.

        A location belongs to an image if its cell begins inside ``pad_shape`` and, where ``allowed_border`` >= 0, its
        prior lies inside ``img_shape`` extended by that many pixels.

        Args:
            grid: the locations.
            metas: ``pad_shape`` and ``img_shape`` of each image.
            allowed_border: pixels; negative to omit the condition on ``img_shape``.

        Returns:
            The regions.

        Raises:
            ValueError: for an image without a location.
        """
        extents = []
        for number, meta in enumerate(metas):
            pad_shape, img_shape = tuple(meta["pad_shape"][:2]), tuple(meta["img_shape"][:2])
            extent = _extent(grid, pad_shape, img_shape if allowed_border >= 0 else None, allowed_border)
            if extent.empty:
                raise ValueError(
                    f"image {number} of the batch (img_shape {img_shape}, pad_shape {pad_shape}) holds no prior; check "
                    f"its size against the strides {grid.layout.strides}, or set train_cfg.allowed_border=-1 (it is "
                    f"{allowed_border})"
                )
            extents.append(extent)
        bounds = host_tensor([extent.bounds for extent in extents], torch.float32, grid.device)
        first, end = bounds.view(len(metas), grid.num_levels, 2, 2).permute(3, 2, 0, 1)
        return ValidRegions(first, end, whole=all(extent.whole for extent in extents))

    def masks(self, grid: Grid) -> tuple[Tensor, ...]:
        """The regions as maps.

        Args:
            grid: the locations.

        Returns:
            L maps (B, H, W) fp32: 1 at the locations that belong to the image, 0 elsewhere.
        """
        columns = self._inside(0, [width for _, width in grid.sizes])
        rows = self._inside(1, [height for height, _ in grid.sizes])
        return tuple(row[:, :, None] * column[:, None] for row, column in zip(rows, columns))

    def _inside(self, axis: int, counts: Sequence[int]) -> tuple[Tensor, ...]:
        """(B, count) fp32 per level: 1 at the columns or rows that belong to each image."""
        level, step = _steps(tuple(counts), self.first.device)
        inside = (step >= self.first[axis][:, level]) & (step < self.end[axis][:, level])
        return inside.float().split_with_sizes(list(counts), dim=1)


@cached(maxsize=64)
def _steps(counts: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """(N,) level, int64, and step in its level, fp32, of all columns or rows, level after level."""
    level = [level for level, count in enumerate(counts) for _ in range(count)]
    step = [step for count in counts for step in range(count)]
    return host_tensor(level, torch.int64, device), host_tensor(step, torch.float32, device)


@dataclass(frozen=True)
class _Extent:
    """The part of each level that belongs to one image."""

    bounds: tuple[tuple[int, int, int, int], ...]  # first and end column, first and end row of each level
    empty: bool  # whether no location belongs to the image
    whole: bool  # whether all locations belong to the image


@functools.lru_cache(maxsize=4096)  # a few image shapes are repeated
def _extent(grid: Grid, pad_shape: tuple[int, int], img_shape: tuple[int, int] | None, border: float) -> _Extent:
    bounds = []
    for (height, width), stride, prior in zip(grid.sizes, grid.layout.strides, grid.layout.base_priors):
        x, x_end = 0, min(math.ceil(pad_shape[1] / stride), width)
        y, y_end = 0, min(math.ceil(pad_shape[0] / stride), height)
        if img_shape is not None:
            x, x_end = _inside(x_end, prior[0], prior[2], stride, img_shape[1], border)
            y, y_end = _inside(y_end, prior[1], prior[3], stride, img_shape[0], border)
        bounds.append((x, x_end, y, y_end))
    return _Extent(
        bounds=tuple(bounds),
        empty=not any(x_end > x and y_end > y for x, x_end, y, y_end in bounds),
        whole=bounds == [(0, width, 0, height) for height, width in grid.sizes],
    )


def _inside(end: int, low: float, high: float, stride: float, extent: float, border: float) -> tuple[int, int]:
    """The steps of [0, end) at which the prior [low, high] + step·stride stays inside the border."""
    first = max(0, math.ceil((-border - low) / stride))
    return first, max(min(end, math.ceil((extent + border - high) / stride)), first)
