"""Rank correlation of a predicted spread with the errors of box sides."""

from __future__ import annotations

import numpy as np

from ...metrics.matched_sides import MatchedSides
from ...metrics.score_ranking import spearman
from ...structures.calibration import BY_SIZE, SIZES
from ..calibration.fit import groups_of

SIDES = ("left", "top", "right", "bottom")
_ENOUGH = 30  # matches; the standard deviation of a correlation of fewer is above 0.18


def error_correlations(sides: MatchedSides) -> dict[str, float]:
    """Spearman's correlation of ``std`` and |error|.

    Args:
        sides: the matches.

    Returns:
        For each side (``left`` ...), for each size of box with enough matches (``small`` ...; its four sides in one
        list), and ``all``: all sides of all boxes in one list. NaN where it is not defined.
    """
    spread, error = sides.std, np.abs(sides.errors)
    values = {name: spearman(spread[:, side], error[:, side]) for side, name in enumerate(SIDES)}
    groups = groups_of(sides, BY_SIZE)
    for index, name in enumerate(SIZES):
        rows = groups == index
        if rows.sum() >= _ENOUGH:
            values[name] = spearman(spread[rows].ravel(), error[rows].ravel())
    return {**values, "all": spearman(spread.ravel(), error.ravel())}
