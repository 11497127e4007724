"""Candidates for the unit of a margin: what could say how far a true side is from the predicted one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...metrics.matched_sides import MatchedSides
from ...structures.calibration import CONSTANT, SIZE
from ..calibration.fit import units_of

SIGMA = "predicted σ"
NO_FLOOR = "σ without f(1−f)"
EVEN_FLOOR = "σ with 1/6 for f(1−f)"
BOX_SIZE = "width or height"
NOTHING = "constant (σ = 1)"
_LEAST_VARIANCE = 0.02  # bins², where the floor leaves nothing; the smallest value that is not the widest intervals


def candidate_spreads(sides: MatchedSides, bins: np.ndarray | None) -> dict[str, MatchedSides]:
    """Matches whose ``std`` is replaced by each candidate.

    The two-bin target of DFL has a variance of f(1−f) bins² for a side at the fraction f between two bins, although it
    is known exactly. ``NO_FLOOR`` subtracts this variance, and ``EVEN_FLOOR`` replaces it by its mean over f, 1/6, so
    that the spread no longer depends on where between the bins a side happens to lie.

    Args:
        sides: the matches.
        bins: (n+1,) equally spaced bins in strides; None for sides without bins.

    Returns:
        By name, those that the matches have.
    """
    found = {}
    if sides.std is not None and (sides.std > 0).any():
        found[SIGMA] = sides
        if bins is not None:
            variance, floor, bin_px = _variance_and_floor(sides, bins)
            for name, added in ((NO_FLOOR, 0.0), (EVEN_FLOOR, 1 / 6)):
                rest = np.maximum(variance - floor, _LEAST_VARIANCE) + added
                found[name] = replace(sides, std=bin_px * np.sqrt(rest))
    for name, unit in ((BOX_SIZE, SIZE), (NOTHING, CONSTANT)):
        found[name] = replace(sides, std=units_of(sides, unit))
    return found


def _variance_and_floor(sides: MatchedSides, bins: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N, 4) variances and floors in bins², and pixels per bin."""
    index = np.arange(len(bins))
    mean = (sides.distributions * index).sum(axis=2)
    variance = (sides.distributions * (index - mean[..., None]) ** 2).sum(axis=2)
    fraction = mean - np.floor(mean)
    return variance, fraction * (1 - fraction), sides.std / np.sqrt(np.maximum(variance, 1e-12))
