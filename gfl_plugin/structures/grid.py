"""The pyramid's locations: pure geometry.

A level is a grid of H·W locations, ``stride`` pixels apart, with one prior box each. A location is named by its
column and row, or by its row-major index row·W + column. The priors of all levels, one after another, are numbered
0 … A-1, in the order of MMDetection's ``grid_priors``.
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
    base_center: Tensor  # (L, 2) its center

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

    def center(self, level: Tensor, location: Tensor) -> Tensor:
        """(N, 2) x, y in pixels of locations, by level and row-major index."""
        width = self.width[level]
        row = torch.div(location, width, rounding_mode="floor")
        step = torch.stack([location - row * width, row], dim=1)
        return self.base_center[level] + step * self.stride[level][:, None]


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
        base_center=centers(base_prior),
    )
