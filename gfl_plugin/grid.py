"""The pyramid's locations: pure geometry.

A level is a grid of H·W locations, ``stride`` pixels apart, with one prior box each. A location is named by its
column and row, or by its row-major index row·W + column. The priors of all levels, one after another, are numbered
0 … A-1, in the order of MMDetection's ``grid_priors``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .boxes import centres
from .tensor_cache import cached


@dataclass(frozen=True)
class Layout:
    """What a generator with one prior a location says about its levels."""

    strides: tuple[float, ...]  # pixels
    base_priors: tuple[tuple[float, float, float, float], ...]  # x1, y1, x2, y2 of each level's first prior, pixels

    @staticmethod
    def of(prior_generator: object) -> Layout:
        """The layout of an MMDetection ``AnchorGenerator``.

        Raises:
            ValueError: for another generator, for more than one prior a location, or for oblong strides.
        """
        name = type(prior_generator).__name__
        if not hasattr(prior_generator, "base_anchors"):
            raise ValueError(f"anchor_generator is a {name}; GFL needs an AnchorGenerator, with one prior a location")
        if any(count != 1 for count in prior_generator.num_base_priors):
            raise ValueError(
                f"anchor_generator makes {prior_generator.num_base_priors} priors a location on its levels; GFL needs "
                "one: write ratios=[1.0], octave_base_scale=8, scales_per_octave=1"
            )
        if any(width != height for width, height in prior_generator.strides):
            raise ValueError(
                f"anchor_generator has strides {prior_generator.strides}; a distance in strides needs square ones"
            )
        strides = tuple(float(width) for width, _ in prior_generator.strides)
        return Layout(strides, tuple(tuple(anchor[0].tolist()) for anchor in prior_generator.base_anchors))


@dataclass(frozen=True, eq=False)
class Grid:
    """The locations and priors of a pyramid on one device. Made by :meth:`of`, which keeps the last ones.

    Grids are compared by identity: :meth:`of` gives the same one for the same arguments while it is kept.
    """

    sizes: tuple[tuple[int, int], ...]  # (H, W) of each level
    layout: Layout
    device: torch.device
    starts: tuple[int, ...]  # number of the first prior of each level, and the number of all priors
    stride: Tensor  # (L,) pixels, fp32
    width: Tensor  # (L,) columns of each level, int64
    start: Tensor  # (L,) number of each level's first prior, int64
    base_prior: Tensor  # (L, 4) box of each level's prior at column 0, row 0, pixels, fp32
    base_centre: Tensor  # (L, 2) its centre

    @staticmethod
    def of(layout: Layout, sizes: Sequence[Sequence[int]], device: torch.device | str) -> Grid:
        """The grid for feature maps of these sizes.

        Raises:
            ValueError: for a number of maps that is not the number of strides.
        """
        if len(sizes) != len(layout.strides):
            raise ValueError(
                f"{len(sizes)} feature maps came for {len(layout.strides)} strides {list(layout.strides)}; give one "
                "stride a level of the neck"
            )
        return _grid(tuple((int(height), int(width)) for height, width in sizes), layout, torch.device(device))

    @property
    def num_levels(self) -> int:
        return len(self.sizes)

    @property
    def num_priors(self) -> int:
        return self.starts[-1]

    def centre(self, level: Tensor, location: Tensor) -> Tensor:
        """(N, 2) x, y in pixels of locations, by level and row-major index."""
        width = self.width[level]
        row = torch.div(location, width, rounding_mode="floor")
        step = torch.stack([location - row * width, row], dim=1)
        return self.base_centre[level] + step * self.stride[level][:, None]


@cached(maxsize=32)  # multi-scale training meets a few dozen sizes again and again
def _grid(sizes: tuple[tuple[int, int], ...], layout: Layout, device: torch.device) -> Grid:
    starts = [0]
    for height, width in sizes:
        starts.append(starts[-1] + height * width)
    base_prior = host_tensor(layout.base_priors, torch.float32, device)
    return Grid(
        sizes=sizes,
        layout=layout,
        device=device,
        starts=tuple(starts),
        stride=host_tensor(layout.strides, torch.float32, device),
        width=host_tensor([width for _, width in sizes], torch.int64, device),
        start=host_tensor(starts[:-1], torch.int64, device),
        base_prior=base_prior,
        base_centre=centres(base_prior),
    )


@dataclass(frozen=True)
class Regions:
    """The part of each level that belongs to an image: a batch is padded to its largest image."""

    # (2, B, L) first and end (exclusive) columns, then rows; whole numbers in fp32, as they meet coordinates.
    first: Tensor
    end: Tensor
    whole: bool  # whether every image owns every location of every level

    @staticmethod
    def of(grid: Grid, metas: Sequence[dict], allowed_border: float = -1) -> Regions:
        """From MMDetection's image metas, with its rules.

        A location belongs to an image when its cell begins inside ``pad_shape`` and, where ``allowed_border`` >= 0, its
        prior lies inside ``img_shape`` extended by that many pixels.

        Raises:
            ValueError: when an image is left without a location.
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
        return Regions(first, end, whole=all(extent.whole for extent in extents))

    def masks(self, grid: Grid) -> tuple[Tensor, ...]:
        """(B, H, W) fp32 a level: 1 at the locations that belong to each image, 0 elsewhere."""
        columns = self._inside(0, [width for _, width in grid.sizes])
        rows = self._inside(1, [height for height, _ in grid.sizes])
        return tuple(row[:, :, None] * column[:, None] for row, column in zip(rows, columns))

    def _inside(self, axis: int, counts: Sequence[int]) -> tuple[Tensor, ...]:
        """(B, count) fp32 a level: 1 at the columns or rows that belong to each image."""
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
    empty: bool  # whether no level has a part
    whole: bool  # whether each level is its part


@functools.lru_cache(maxsize=4096)  # images of a few shapes come again and again
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


def host_tensor(values: object, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A tensor of host values on a device, without making the host wait for a GPU."""
    tensor = torch.tensor(values, dtype=dtype)
    if device.type == "cuda" and not torch.compiler.is_compiling():
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
