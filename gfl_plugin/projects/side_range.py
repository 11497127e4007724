"""The range of a new head's side distributions, from the size of the images and the coarsest level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mmengine.config import Config

from ..coders.integral_bbox_coder import DEFAULT_REG_MAX
from .image_size import largest_image_side

# Along each axis, the nine locations nearest to an object's center, ATSS's candidates of a level, are at most this far
# from it, unless the level has fewer than three rows or columns.
CANDIDATE_OFFSET = 1.75  # strides


@dataclass(frozen=True)
class SideRange:
    """Number of bins with a step of one stride, and what it follows from."""

    image_side: int | None  # pixels, the largest side of an image; None if the config does not set it
    stride: int  # pixels, of the coarsest level

    @property
    def needed(self) -> float:
        """Strides from a location that ATSS assigns to an object of the image's size to the furthest side."""
        return 0.0 if self.image_side is None else self.image_side / 2 / self.stride + CANDIDATE_OFFSET

    @property
    def reg_max(self) -> int:
        """n, the index of the last bin: the default unless it is too short."""
        return max(DEFAULT_REG_MAX, math.ceil(self.needed))

    @property
    def reason(self) -> str:
        """The choice in one sentence."""
        if self.image_side is None:
            return f"reg_max={self.reg_max}, the default: no pipeline of the config sets the size of images"
        default = DEFAULT_REG_MAX
        choice = f"reg_max={self.reg_max}{', the default' if self.reg_max == default else f' instead of {default}'}"
        return (
            f"{choice}: images have sides of up to {self.image_side} px, so that an object as large as the image has "
            f"sides of up to {self.image_side}/2/{self.stride} + {CANDIDATE_OFFSET:g} = {self.needed:.1f} strides on "
            f"the coarsest level, stride {self.stride}"
        )


def side_range(cfg: Config, strides: Sequence[int]) -> SideRange:
    """Choose the range of side distributions for a detector.

    Objects as large as the image are assigned to the coarsest level, at locations near their center.

    Args:
        cfg: of the detector and its data.
        strides: pixels, one per level.

    Returns:
        The choice.
    """
    return SideRange(largest_image_side(cfg), max(strides))
