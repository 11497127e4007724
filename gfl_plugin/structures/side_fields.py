"""Fields of detections that say how sure each side of the box is: their names, and how they change with the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from mmdet.structures.bbox import bbox_flip
from torch import Tensor

# (N, 4) standard deviations of left, top, right, bottom in pixels of the image that the boxes belong to, fp32.
BBOX_STD = "bbox_std"
# (N, 4, n+1) probabilities of the bins of left, top, right, bottom, fp32; bins are distances in strides.
BBOX_DISTRIBUTIONS = "bbox_distributions"
# (N, 4) x, y of the location that predicted the box, then sx, sy, the pixels per unit of distance (the stride), all in
# pixels of the image that the boxes belong to, fp32. A bin d of left, top, right, bottom lies at x - d·sx, y - d·sy,
# x + d·sx, y + d·sy.
BBOX_POINTS = "bbox_points"
# (N, 4) x1, y1, x2, y2 of the calibrated boxes inside and around the detected one, in its pixels, fp32.
BBOX_INNER, BBOX_OUTER = "bbox_inner", "bbox_outer"
_SIDES = (BBOX_STD, BBOX_DISTRIBUTIONS)  # have a row per side
_BOXES = (BBOX_INNER, BBOX_OUTER)
SIDE_FIELDS = (*_SIDES, BBOX_POINTS, *_BOXES)

# Sides of the flipped image by those of the image: left, top, right, bottom.
_FLIPPED = {"horizontal": (2, 1, 0, 3), "vertical": (0, 3, 2, 1), "diagonal": (2, 3, 0, 1)}


def scaled_fields(fields: Mapping[str, Tensor], factor: Tensor) -> dict[str, Tensor]:
    """Fields after the image was scaled.

    Args:
        fields: by name, (N, ...) each.
        factor: (N, 4) output pixels per pixel along x, y, x, y.

    Returns:
        The same fields; those in pixels are multiplied by the factor.
    """
    in_pixels = (BBOX_STD, BBOX_POINTS, *_BOXES)
    return {name: values * factor if name in in_pixels else values for name, values in fields.items()}


def flipped_fields(fields: Mapping[str, Tensor], direction: str, image: Sequence[int]) -> dict[str, Tensor]:
    """Fields after the image was flipped: the sides of the box change places.

    Args:
        fields: by name, (N, ...) each.
        direction: horizontal, vertical, or diagonal (both).
        image: height and width of the image, in pixels.

    Returns:
        The same fields; those per side have the flipped order, those that are boxes or points are flipped.

    Raises:
        ValueError: for another direction.
    """
    if direction not in _FLIPPED:
        raise ValueError(f"flip_direction is {direction!r}; it must be one of {', '.join(map(repr, _FLIPPED))}")
    order = list(_FLIPPED[direction])
    flipped = {name: values[:, order] if name in _SIDES else values for name, values in fields.items()}
    if BBOX_POINTS in fields:
        flipped[BBOX_POINTS] = _flipped_points(fields[BBOX_POINTS], direction, image)
    return flipped | {name: bbox_flip(fields[name], image, direction) for name in _BOXES if name in fields}


def _flipped_points(points: Tensor, direction: str, image: Sequence[int]) -> Tensor:
    """Points after the image was flipped: a point is a box without area; the pixels per distance stay."""
    xy, scale = points.split_with_sizes((2, 2), dim=1)
    return torch.cat([bbox_flip(xy.repeat(1, 2), image, direction)[:, :2], scale], dim=1)
