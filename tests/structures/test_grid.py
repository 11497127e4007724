"""The grid has the geometry of MMDetection's prior generator."""

from __future__ import annotations

import pytest
import torch
from mmdet.models.task_modules.prior_generators import AnchorGenerator, MlvlPointGenerator, anchor_inside_flags

from gfl_plugin.assigners.candidates import all_priors
from gfl_plugin.structures.grid import Grid, Layout
from gfl_plugin.structures.valid_regions import ValidRegions


def a_generator(**changes) -> AnchorGenerator:
    settings = dict(strides=[8, 16], ratios=[1.0], octave_base_scale=8, scales_per_octave=1)
    return AnchorGenerator(**{**settings, **changes})


@pytest.mark.parametrize("offset", [0.0, 0.5, 0.3])
@pytest.mark.parametrize("strides", [[8, 16], [7, 13]])
def test_priors_equal_the_generators(offset: float, strides: list[int]) -> None:
    generator = a_generator(center_offset=offset, strides=strides)
    sizes = [(5, 7), (3, 4)]
    grid = Grid.of(Layout.of(generator), sizes, "cpu")
    assert grid.num_priors == 5 * 7 + 3 * 4
    assert torch.equal(all_priors(grid), torch.cat(generator.grid_priors(sizes, device="cpu")))


@pytest.mark.parametrize("border", [-1, 0, 3, 50])
@pytest.mark.parametrize("pad_shape", [(40, 56), (17, 31), (33, 8)])
def test_regions_equal_mmdetections_flags(border: float, pad_shape: tuple[int, int]) -> None:
    generator = a_generator(octave_base_scale=2)
    sizes = [(5, 7), (3, 4)]
    image = (pad_shape[0] - 1, pad_shape[1] - 1)
    grid = Grid.of(Layout.of(generator), sizes, "cpu")
    expected = [
        anchor_inside_flags(priors, flags, image, border).view(size)
        for priors, flags, size in zip(
            generator.grid_priors(sizes, device="cpu"), generator.valid_flags(sizes, pad_shape, "cpu"), sizes
        )
    ]
    metas = [dict(img_shape=image, pad_shape=pad_shape)]
    if not any(flags.any() for flags in expected):
        with pytest.raises(ValueError, match="holds no prior"):
            ValidRegions.of(grid, metas, border)
        return
    regions = ValidRegions.of(grid, metas, border)
    for level, flags in enumerate(expected):
        assert torch.equal(regions.masks(grid)[level][0] > 0, flags)
    assert regions.whole == all(flags.all() for flags in expected)


def test_other_generators() -> None:
    with pytest.raises(ValueError, match="anchor_generator is a MlvlPointGenerator; GFL needs an AnchorGenerator"):
        Grid.of(Layout.of(MlvlPointGenerator([8, 16])), [(2, 2), (1, 1)], "cpu")
    with pytest.raises(ValueError, match="needs square ones"):
        Grid.of(Layout.of(a_generator(strides=[(8, 16)])), [(2, 2)], "cpu")
    with pytest.raises(ValueError, match=r"3 feature maps came for 2 strides \[8.0, 16.0\]"):
        Grid.of(Layout.of(a_generator()), [(4, 4), (2, 2), (1, 1)], "cpu")


def test_grids_are_cached() -> None:
    once, again = (Grid.of(Layout.of(a_generator()), [(4, 4), (2, 2)], "cpu") for _ in range(2))
    assert once is again
