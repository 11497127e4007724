"""Where a detector believes the sides of boxes to lie, as curves in pixels of the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_OUTWARD = np.array([-1.0, -1.0, 1.0, 1.0])  # left and top lie at smaller coordinates than the point
_NORMAL = np.linspace(-3.0, 3.0, 61)  # standard deviations at which a normal distribution is drawn


@dataclass(frozen=True)
class SideCurves:
    """One curve for each of the left, top, right and bottom sides of N boxes, at P positions each.

    Heights are on one scale for all sides: a curve is high and narrow where the side is certain, low and wide where the
    boundary is ambiguous.
    """

    positions: np.ndarray  # (N, 4, P) pixels: x for left and right, y for top and bottom
    heights: np.ndarray  # (N, 4, P) in [0, 1]


def curves_of_bins(distributions: np.ndarray, points: np.ndarray, bins: np.ndarray) -> SideCurves:
    """Curves of sides with bins: straight lines between the probabilities of neighbouring bins.

    A height is a probability per distance: if steps differ, the probability of a bin is divided by the width of the
    bin, and 1 stands for a side that certainly lies in the finest bin. If all steps are equal, heights are the
    probabilities.

    Args:
        distributions: (N, 4, n+1) ``bbox_distributions``.
        points: (N, 4) ``bbox_points``.
        bins: (n+1,) distances of the bins, increasing.

    Returns:
        The curves, at the n + 1 bins.
    """
    points = np.asarray(points, np.float64)
    origins, scales = points[:, [0, 1, 0, 1]], points[:, [2, 3, 2, 3]] * _OUTWARD
    width = np.gradient(np.asarray(bins, np.float64))  # (n+1,) half the distance between both neighbours
    return SideCurves(
        positions=origins[:, :, None] + scales[:, :, None] * bins,
        heights=distributions * (width.min() / width),
    )


def curves_of_normals(boxes: np.ndarray, std: np.ndarray) -> SideCurves:
    """Curves of sides whose distribution is a normal one.

    All curves have the same area. The side with the smallest standard deviation has the height 1.

    Args:
        boxes: (N, 4) x1, y1, x2, y2 in pixels, the means.
        std: (N, 4) ``bbox_std``, positive.

    Returns:
        The curves, within three standard deviations.
    """
    std = np.maximum(np.asarray(std, np.float64), 1e-6)
    peaks = std.min(initial=np.inf) / std  # (N, 4)
    return SideCurves(
        positions=np.asarray(boxes, np.float64)[:, :, None] + std[:, :, None] * _NORMAL,
        heights=peaks[:, :, None] * np.exp(-(_NORMAL**2) / 2),
    )
