"""Coverage and width of intervals whose margins are proportional to a spread."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import mean

import numpy as np

from ...metrics.matched_sides import MatchedSides
from ...structures.calibration import BOX, STD
from ..calibration.calibrate import fit_calibration
from ..calibration.coverage import measure_coverage
from ..calibration.fit import Request, side_scores


@dataclass(frozen=True)
class Width:
    """Intervals at one level."""

    coverage: float  # share of covered boxes (or sides) of images that were not used for calibration
    margin: float  # mean margin of these in pixels
    exact_margin: float  # mean margin at which exactly the level of them is covered


def interval_width(
    pairs: list[tuple[MatchedSides, MatchedSides]], level: float, statement: str, classes: tuple[str, ...]
) -> Width:
    """Calibrate margins in units of ``std``, and measure them on other images.

    Args:
        pairs: matches of calibration images and of test images; results are means over the pairs.
        level: in (0, 1).
        statement: BOX or SIDE.
        classes: names of the classes.

    Returns:
        Coverage and width.
    """
    request = Request(level, statement, STD)
    measured = [measure_coverage(others, fit_calibration(sides, request, classes)[0])[0] for sides, others in pairs]
    return Width(
        coverage=mean(one.share for one in measured),
        margin=mean(one.margin for one in measured),
        exact_margin=mean(_exact_margin(others, level, statement) for _, others in pairs),
    )


def _exact_margin(sides: MatchedSides, level: float, statement: str) -> float:
    """Mean margin in pixels that covers the level of these matches: without calibration, to compare equal coverages."""
    scores = side_scores(sides, STD)
    columns = [scores.max(axis=1)] * 4 if statement == BOX else list(scores.T)
    quantiles = np.array([np.quantile(column, level, method="inverted_cdf") for column in columns])
    return float((quantiles * sides.std).mean())
