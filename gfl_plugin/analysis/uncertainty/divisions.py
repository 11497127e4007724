"""Coverage over random divisions of labelled images: its mean is guaranteed, and one division scatters around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

import numpy as np

from ...metrics.matched_sides import MatchedSides
from ..calibration.calibrate import fit_calibration
from ..calibration.coverage import measure_coverage
from ..calibration.fit import Request

DIVISIONS = 100


@dataclass(frozen=True)
class DivisionCoverage:
    """Coverage of one calibration request."""

    request: Request
    mean: float  # share of covered matches of the other images, averaged over divisions
    deviation: float  # its standard deviation over divisions
    per_image: float  # share that is covered in an image, averaged over images and divisions


def random_divisions(sides: MatchedSides, calibration_images: int, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Divide images at random into those for calibration and the others; the same for all runs on the same images.

    Args:
        sides: matches of all images.
        calibration_images: number of images for calibration.
        count: number of divisions.

    Returns:
        Masks (N,) of the matches of both parts.
    """
    images, masks = int(sides.image.max(initial=0)) + 1, []
    for seed in range(count):
        first = np.random.default_rng(seed).permutation(images)[:calibration_images]
        rows = np.isin(sides.image, first)
        masks.append((rows, ~rows))
    return masks


def division_coverage(
    sides: MatchedSides, calibration_images: int, requests: Sequence[Request], classes: tuple[str, ...]
) -> list[DivisionCoverage]:
    """Calibrate on random images, and measure on the others.

    Args:
        sides: matches of all held-out images.
        calibration_images: number of images for calibration.
        requests: what is calibrated.
        classes: names of the classes.

    Returns:
        The coverage of each request.
    """
    pairs = [
        (sides.rows(first), sides.rows(rest)) for first, rest in random_divisions(sides, calibration_images, DIVISIONS)
    ]
    results = []
    for request in requests:
        measured = [measure_coverage(rest, fit_calibration(first, request, classes)[0])[0] for first, rest in pairs]
        shares = [one.share for one in measured]
        results.append(DivisionCoverage(request, mean(shares), stdev(shares), mean(one.per_image for one in measured)))
    return results
