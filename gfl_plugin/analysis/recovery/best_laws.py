"""The best that each representation of a side can do: a law as a point, as a normal distribution, and on bins."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from .learned_laws import SideRepresentation
from .point_laws import PointLaws, equally_probable

_OFFSETS = 32  # positions of the bins relative to the true side


def best_laws(law: np.ndarray, representation: SideRepresentation) -> PointLaws:
    """A law in a representation of sides.

    Args:
        law: (Q,) equally probable points of the law.
        representation: what the head predicts.

    Returns:
        One distribution; for bins one for each of several positions of the bins. A point is the law's median, which has
        the smallest Wasserstein-1 distance; a normal distribution has the law's mean and standard deviation.
    """
    if representation.kind == "point":
        return PointLaws(np.array([[np.median(law)]]), np.ones((1, 1)))
    if representation.kind == "normal":
        values = law.mean() + law.std() * ndtri(equally_probable(len(law)))
        return PointLaws(values[None], np.full((1, len(law)), 1.0 / len(law)))
    return on_bins(law, representation.bin_width, _OFFSETS)


def on_bins(law: np.ndarray, width: float, offsets: int) -> PointLaws:
    """A law on bins as DFL learns it: each value is split between its two neighbouring bins, and the mean is kept.

    Over all positions of the bins, the average is the law plus triangular noise of half-width ``width``.

    Args:
        law: (Q,) equally probable points.
        width: of the bins, in pixels.
        offsets: number of positions of the bins relative to the true side, equally far apart.

    Returns:
        A distribution for each position.
    """
    first, last = np.floor(law.min() / width) - 1, np.ceil(law.max() / width) + 1
    shift = (np.arange(offsets) + 0.5) / offsets * width
    values = shift[:, None] + width * np.arange(first, last + 1)  # (offsets, K)
    share = np.stack([_shares(law, row, width) for row in values])
    return PointLaws(values, share)


def _shares(law: np.ndarray, bins: np.ndarray, width: float) -> np.ndarray:
    """(K,) mean share of the law's points in each bin."""
    return np.maximum(0.0, 1.0 - np.abs(law[:, None] - bins) / width).mean(axis=0)
