"""Geometry of the feature pyramid's locations.

A level is a grid of H·W locations, ``stride`` pixels apart, with one prior box each. A location is given by its column
and row, or by its row-major index row·W + column. The priors of all levels are numbered 0 … A-1, level after level, in
the order of MMDetection's ``grid_priors``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..ops.box_geometry import centers
from ..ops.host_values import host_tensor
from ..ops.tensor_cache import cached


@dataclass(frozen=True)
class Layout:
    """Strides and priors of a generator with one prior per location."""

    strides: tuple[float, ...]  # pixels
    base_priors: tuple[tuple[float, float, float, float], ...]  # x1, y1, x2, y2 of each level's first prior, pixels

    @staticmethod
    def of(prior_generator: object) -> Layout:
        """The layout of an MMDetection ``AnchorGenerator``.

        Args:
            prior_generator: the generator.

        Returns:
            Its layout.

        Raises:
            ValueError: for another generator, more than one prior per location, or strides that are not square.
        """
        name = type(prior_generator).__name__
        if not hasattr(prior_generator, "base_anchors"):
            raise ValueError(f"anchor_generator is a {name}; GFL needs an AnchorGenerator, with one prior per location")
        if any(count != 1 for count in prior_generator.num_base_priors):
            raise ValueError(
                f"anchor_generator makes {prior_generator.num_base_priors} priors per location on its levels; GFL "
                "needs one: write ratios=[1.0], octave_base_scale=8, scales_per_octave=1"
            )
        if any(width != height for width, height in prior_generator.strides):
            raise ValueError(
                f"anchor_generator has strides {prior_generator.strides}; a distance in strides needs square ones"
            )
        strides = tuple(float(width) for width, _ in prior_generator.strides)
        return Layout(strides, tuple(tuple(anchor[0].tolist()) for anchor in prior_generator.base_anchors))


@dataclass(frozen=True, eq=False)
class Grid:
    """Locations and priors of a pyramid on one device, created by :meth:`of`, which caches the most recent ones.

    Grids are compared by identity: :meth:`of` returns the same object for the same arguments while it is cached.
    """

    sizes: tuple[tuple[int, int], ...]  # (H, W) of each level
    layout: Layout
    device: torch.device
    starts: tuple[int, ...]  # number of the first prior of each level, and the number of all priors
    stride: Tensor  # (L,) pixels, fp32
    width: Tensor  # (L,) columns of each level, int64
    start: Tensor  # (L,) number of each level's first prior, int64
    base_prior: Tensor  # (L, 4) box of each level's prior at column 0, row 0, pixels, fp32
    base_center: Tensor  # (L, 2) its center

    @staticmethod
    def of(layout: Layout, sizes: Sequence[Sequence[int]], device: torch.device | str) -> Grid:
        """The grid for feature maps of given sizes.

        Args:
            layout: strides and priors.
            sizes: (H, W) of each level.
            device: of the tensors.

        Returns:
            The grid.

        Raises:
            ValueError: if the number of maps differs from the number of strides.
        """
        if len(sizes) != len(layout.strides):
            raise ValueError(
                f"{len(sizes)} feature maps came for {len(layout.strides)} strides {list(layout.strides)}; give one "
                "stride per level of the neck"
            )
        return _grid(tuple((int(height), int(width)) for height, width in sizes), layout, torch.device(device))

    @property
    def num_levels(self) -> int:
        return len(self.sizes)

    @property
    def num_priors(self) -> int:
        return self.starts[-1]

    def center(self, level: Tensor, location: Tensor) -> Tensor:
        """Centers of locations.

        Args:
            level: (N,) level index, int64.
            location: (N,) row-major index in the level's grid, int64.

        Returns:
            (N, 2) x, y in pixels, fp32.
        """
        width = self.width[level]
        row = torch.div(location, width, rounding_mode="floor")
        step = torch.stack([location - row * width, row], dim=1)
        return self.base_center[level] + step * self.stride[level][:, None]


@cached(maxsize=32)  # multi-scale training repeats a few dozen sizes
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
        base_center=centers(base_prior),
    )
