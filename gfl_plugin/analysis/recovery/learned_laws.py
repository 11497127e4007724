"""Learned distributions of box sides relative to the true sides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from ...metrics.matched_sides import MatchedSides
from .point_laws import PointLaws, equally_probable

_NORMAL_POINTS = 201  # equally probable points that stand for a normal distribution


@dataclass(frozen=True)
class SideRepresentation:
    """What a head predicts for a side."""

    kind: str  # "bins", "normal" or "point"
    bins: np.ndarray | None = None  # (n+1,) distances of the bins in pixels; None without bins

    @property
    def bin_width(self) -> float | None:
        """Pixels between two bins; None without bins.

        Raises:
            ValueError: if the bins have no constant width.
        """
        if self.bins is None:
            return None
        widths = np.diff(self.bins)
        if not np.allclose(widths, widths[0], rtol=1e-4):
            raise ValueError("the bins have no constant width; the recovery of annotation noise needs uniform bins")
        return float(widths[0])


def learned_laws(sides: MatchedSides, side: int, representation: SideRepresentation) -> PointLaws:
    """The distribution that each detection gives for a side.

    A bin is at the location plus its distance, and the predicted side at the location plus the mean distance; their
    difference does not depend on the location.

    Args:
        sides: matched detections, whose objects have the true sides.
        side: 0 to 3 for left, top, right, bottom.
        representation: what the head predicts.

    Returns:
        One distribution per detection, in pixels outside the true side.
    """
    outward = -sides.errors[:, side, None]  # (N, 1) errors are those of the true side relative to the predicted one
    if representation.kind == "point":
        return PointLaws(outward, np.ones_like(outward))
    if representation.kind == "normal":
        values = outward + sides.std[:, side, None] * ndtri(equally_probable(_NORMAL_POINTS))
        return PointLaws(values, np.full_like(values, 1.0 / _NORMAL_POINTS))
    weights = sides.distributions[:, side]  # (N, n+1)
    weights = weights / weights.sum(axis=1, keepdims=True)  # exact after fp32
    distance = weights @ representation.bins
    return PointLaws(outward + representation.bins - distance[:, None], weights)
