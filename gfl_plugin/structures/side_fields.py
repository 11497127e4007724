"""Fields of detections that describe each side of the box: their names, and how they change with the image."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

# (N, 4) standard deviations of left, top, right, bottom in pixels of the image that the boxes belong to, fp32.
BBOX_STD = "bbox_std"
# (N, 4, n+1) probabilities of the bins of left, top, right, bottom, fp32; bins are distances in strides.
BBOX_DISTRIBUTIONS = "bbox_distributions"
SIDE_FIELDS = (BBOX_STD, BBOX_DISTRIBUTIONS)

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
    return {name: values * factor if name == BBOX_STD else values for name, values in fields.items()}


def flipped_fields(fields: Mapping[str, Tensor], direction: str) -> dict[str, Tensor]:
    """Fields after the image was flipped: the sides of the box change places.

    Args:
        fields: by name, (N, ...) each.
        direction: horizontal, vertical, or diagonal (both).

    Returns:
        The same fields; those per side have the flipped order.

    Raises:
        ValueError: for another direction.
    """
    if direction not in _FLIPPED:
        raise ValueError(f"flip_direction is {direction!r}; it must be one of {', '.join(map(repr, _FLIPPED))}")
    order = list(_FLIPPED[direction])
    return {name: values[:, order] if name in SIDE_FIELDS else values for name, values in fields.items()}
