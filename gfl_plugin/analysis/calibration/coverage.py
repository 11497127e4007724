"""Coverage and width of calibrated margins on labelled images that were not used to compute them."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

import numpy as np
import torch

from ...metrics.matched_sides import MatchedSides
from ...structures.calibration import BOX, EVERYTHING, Calibration, inner_and_outer
from .fit import groups_of


@dataclass(frozen=True)
class Coverage:
    """How often the truth is within the margins, and how wide they are."""

    group: str
    matches: int
    images: int  # with such matches
    covered: int  # matches whose box is covered; with SIDE, sides that are covered
    trials: int  # matches; with SIDE, sides
    per_image: float  # share that is covered in an image, averaged over images; NaN without matches
    margin: float  # mean over matches and sides, in pixels of the original image

    @property
    def share(self) -> float:
        """Share that is covered."""
        return self.covered / self.trials if self.trials else nan

    def confidence_interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Interval of the true share, if trials were independent (Clopper and Pearson 1934).

        Args:
            confidence: in (0, 1).

        Returns:
            Its limits; (0, 1) without matches.
        """
        if not self.trials:
            return 0.0, 1.0
        from scipy.stats import binomtest

        interval = binomtest(self.covered, self.trials).proportion_ci(confidence)
        return float(interval.low), float(interval.high)


def measure_coverage(sides: MatchedSides, calibration: Calibration) -> list[Coverage]:
    """Measure how often the true box lies between the inner and the outer box.

    Args:
        sides: matches of labelled images.
        calibration: margins from other images.

    Returns:
        EVERYTHING first, then the groups.
    """
    margins = margins_of(sides, calibration)
    covered = covered_sides(sides, margins)
    if calibration.statement == BOX:
        covered = covered.all(axis=1, keepdims=True)  # (N, 1); with SIDE (N, 4)
    everything = np.ones(len(sides), bool)
    groups = groups_of(sides, calibration.group_by)
    masks = {EVERYTHING: everything, **{name: groups == i for i, name in enumerate(calibration.group_names)}}
    return [_coverage(name, covered[rows], margins[rows], sides.image[rows]) for name, rows in masks.items()]


def margins_of(sides: MatchedSides, calibration: Calibration) -> np.ndarray:
    """The margins of matched detections.

    Args:
        sides: the matches.
        calibration: margins in units.

    Returns:
        (N, 4) pixels for left, top, right, bottom.
    """
    boxes, labels = torch.from_numpy(sides.predicted), torch.from_numpy(sides.labels)
    return calibration.margins(boxes, labels, None if sides.std is None else torch.from_numpy(sides.std)).numpy()


def covered_sides(sides: MatchedSides, margins: np.ndarray) -> np.ndarray:
    """Which true sides lie between the inner and the outer box.

    Args:
        sides: the matches.
        margins: (N, 4) pixels.

    Returns:
        (N, 4) bool for left, top, right, bottom.
    """
    inner, outer = (
        box.numpy() for box in inner_and_outer(torch.from_numpy(sides.predicted), torch.from_numpy(margins))
    )
    low, high = np.minimum(inner, outer), np.maximum(inner, outer)
    return (low <= sides.true) & (sides.true <= high)


def _coverage(name: str, covered: np.ndarray, margins: np.ndarray, image: np.ndarray) -> Coverage:
    """Of the (N, 1) or (N, 4) covered sides of a group."""
    _, number, counts = np.unique(image, return_inverse=True, return_counts=True)
    shares = np.bincount(number, covered.mean(axis=1), len(counts)) / counts if len(counts) else np.array([nan])
    return Coverage(
        group=name,
        matches=len(covered),
        images=len(counts),
        covered=int(covered.sum()),
        trials=covered.size,
        per_image=float(shares.mean()),
        margin=float(margins.mean()) if len(margins) else nan,
    )
