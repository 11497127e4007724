"""How good a box is: the measures of quality that a branch predicts or that guide the class loss."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ..ops.box_geometry import aligned_iou
from .base import Matched


def centerness(matched: Matched) -> Tensor:
    r"""(P,) how near its object's center a location lies; 0 for one outside.

    .. math:: \sqrt{\frac{\min(l, r)}{\max(l, r)} \cdot \frac{\min(t, b)}{\max(t, b)}}

    Source: Tian et al., arXiv 1904.01355, Eq. 3.
    """
    left, top, right, bottom = matched.distance.unbind(dim=1)
    return (_ratio(left, right) * _ratio(top, bottom)).sqrt()


def _ratio(one: Tensor, other: Tensor) -> Tensor:
    return one.minimum(other).clamp(min=0) / one.maximum(other).clamp(min=1e-12)


def iou(matched: Matched) -> Tensor:
    """(P,) IoU of the predicted box and its object."""
    return aligned_iou(matched.predicted, matched.target)


MEASURES: dict[str, Callable[[Matched], Tensor]] = {"centerness": centerness, "iou": iou}


def measure_named(name: str) -> Callable[[Matched], Tensor]:
    """The measure, or a ValueError that lists them."""
    if name not in MEASURES:
        raise ValueError(f"measure is {name!r}; it must be one of {', '.join(map(repr, MEASURES))}")
    return MEASURES[name]
