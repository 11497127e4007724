"""Measures of box quality: targets of a quality branch, weights of a guided class loss."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ..ops.box_geometry import aligned_iou
from ..structures.matched import Matched


def centerness(matched: Matched) -> Tensor:
    r"""Centerness of each location in its object (Tian et al., arXiv 1904.01355, Eq. 3).

    .. math:: \sqrt{\frac{\min(l, r)}{\max(l, r)} \cdot \frac{\min(t, b)}{\max(t, b)}}

    Args:
        matched: positives with their objects.

    Returns:
        (P,) in [0, 1]; 1 at the object's center, 0 outside.
    """
    left, top, right, bottom = matched.distance.unbind(dim=1)
    return (_ratio(left, right) * _ratio(top, bottom)).sqrt()


def _ratio(one: Tensor, other: Tensor) -> Tensor:
    return one.minimum(other).clamp(min=0) / one.maximum(other).clamp(min=1e-12)


def iou(matched: Matched) -> Tensor:
    """IoU of each predicted box with its object.

    Args:
        matched: positives with their objects.

    Returns:
        (P,) in [0, 1].
    """
    return aligned_iou(matched.predicted, matched.target)


MEASURES: dict[str, Callable[[Matched], Tensor]] = {"centerness": centerness, "iou": iou}


def measure_named(name: str) -> Callable[[Matched], Tensor]:
    """Look up a measure.

    Args:
        name: "centerness" or "iou".

    Returns:
        The measure.

    Raises:
        ValueError: for another name.
    """
    if name not in tuple(MEASURES):  # a list in place of a name cannot be a key
        raise ValueError(f"measure is {name!r}; it must be one of {', '.join(map(repr, MEASURES))}")
    return MEASURES[name]
