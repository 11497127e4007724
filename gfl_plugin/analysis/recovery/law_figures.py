"""Figures of learned distributions beside a law: their moments, their distance to the law, and their peaks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .learned_laws import SideRepresentation
from .point_laws import PointLaws, average, distances, moments
from .two_peaks import two_peaked


@dataclass(frozen=True)
class LawFigures:
    """Figures of N distributions: medians over single ones, and those of their average."""

    count: int  # N
    bias: float  # pixels, median of the means
    std: float  # pixels, median
    skewness: float  # median; NaN without spread
    distance: float  # pixels, median of the Wasserstein-1 distances to the law
    average_bias: float
    average_std: float
    average_skewness: float
    average_distance: float
    two_peaked: float  # share of distributions on bins with two peaks; NaN without bins


def law_figures(laws: PointLaws, law: np.ndarray, representation: SideRepresentation) -> LawFigures:
    """Compute the figures.

    Args:
        laws: N >= 1 distributions.
        law: (Q,) equally probable points of the law to which they are compared.
        representation: of the distributions.

    Returns:
        The figures.
    """
    single, mixture = moments(laws), average(laws)
    whole = moments(mixture)
    return LawFigures(
        count=len(laws),
        bias=float(np.median(single.mean)),
        std=float(np.median(single.std)),
        skewness=float(np.median(single.skewness)),
        distance=float(np.median(distances(laws, law))),
        average_bias=float(whole.mean[0]),
        average_std=float(whole.std[0]),
        average_skewness=float(whole.skewness[0]),
        average_distance=float(distances(mixture, law)[0]),
        two_peaked=float(two_peaked(laws.weights).mean()) if representation.kind == "bins" else float("nan"),
    )
