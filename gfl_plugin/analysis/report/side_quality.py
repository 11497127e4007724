"""How the predicted standard deviations of box sides relate to their errors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...metrics.matched_sides import MatchedSides
from ...metrics.score_ranking import spearman
from ...structures.calibration import BY_SIZE, EVERYTHING, SIDE, SIZES
from ..calibration.calibrate import fit_calibration
from ..calibration.conformal import needed_samples
from ..calibration.coverage import covered_sides, margins_of
from ..calibration.fit import Request, groups_of
from .error_kinds import ImageErrors
from .examined_image import ExaminedImage
from .image_folds import image_folds
from .report_content import CORRECT, SIDES, SideFigures, SideQuality

ENOUGH = 30  # matches; the standard deviation of a correlation of fewer is above 0.18


def matched_sides(images: Sequence[ExaminedImage], errors: Sequence[ImageErrors]) -> MatchedSides:
    """The detections that have found an object, with their objects.

    Args:
        images: the images, all with standard deviations.
        errors: what their detections are.

    Returns:
        The matches of all images.
    """
    parts = []
    for image, own in zip(images, errors):
        rows = np.flatnonzero(own.kinds == CORRECT)
        part = MatchedSides(
            predicted=image.detections.boxes[rows],
            true=image.objects.boxes[own.objects[rows]],
            labels=image.detections.labels[rows],
            scores=image.scores[rows],
            image=np.zeros(len(rows), np.int64),
            std=np.asarray(image.sides.std[rows], np.float64),
        )
        parts.append(part)
    return MatchedSides.concatenate(parts)


def side_quality(sides: MatchedSides, classes: tuple[str, ...], level: float) -> SideQuality:
    """Compare standard deviations with errors, per side and size of the detected box.

    Args:
        sides: at least one match.
        classes: names of the classes.
        level: of the intervals of single sides.

    Returns:
        The figures of all matches and of the sizes that have matches. Coverage and margins are NaN if there are too few
        images for the level, correlations if there are fewer than ENOUGH matches.
    """
    margins = cross_calibrated_margins(sides, classes, level)
    covered = covered_sides(sides, margins).astype(np.float64)
    covered[np.isnan(margins)] = np.nan
    groups = groups_of(sides, BY_SIZE)
    rows = {EVERYTHING: np.ones(len(sides), bool), **{name: groups == i for i, name in enumerate(SIZES)}}
    columns = {"all": slice(None), **{name: slice(i, i + 1) for i, name in enumerate(SIDES)}}
    figures = tuple(
        SideFigures(side, group, int(mask.sum()), *_values(sides, margins, covered, mask, column))
        for group, mask in rows.items()
        if mask.any()
        for side, column in columns.items()
    )
    return SideQuality(level, figures, sides.std, sides.errors)


def cross_calibrated_margins(sides: MatchedSides, classes: tuple[str, ...], level: float) -> np.ndarray:
    """Margins of each side that are calibrated on the images of the other folds.

    No match is judged by a margin that it has helped to compute, see :func:`image_folds`. Margins are in predicted
    standard deviations, each side alone, exact for exchangeable images; see
    :mod:`gfl_plugin.analysis.calibration.conformal`.

    Args:
        sides: the matches.
        classes: names of the classes.
        level: probability that the true side is within the margin.

    Returns:
        (N, 4) pixels; NaN for the folds for which the other images are too few for the level.
    """
    fold = image_folds(sides)
    margins = np.full(sides.std.shape, np.nan)
    for own in np.unique(fold):
        others = sides.rows(fold != own)
        if len(np.unique(others.image)) >= needed_samples(level):
            calibration, _ = fit_calibration(others, Request(level, SIDE), classes)
            margins[fold == own] = margins_of(sides.rows(fold == own), calibration)
    return margins


def _values(
    sides: MatchedSides, margins: np.ndarray, covered: np.ndarray, mask: np.ndarray, column: slice
) -> tuple[float, ...]:
    """Of some matches and sides: correlation, mean deviation, root mean square error, coverage, mean margin."""
    std, errors = sides.std[mask, column].ravel(), sides.errors[mask, column].ravel()
    return (
        spearman(std, np.abs(errors)) if mask.sum() >= ENOUGH else float("nan"),
        float(std.mean()),
        float(np.sqrt((errors**2).mean())),
        float(covered[mask, column].mean()),
        float(margins[mask, column].mean()),
    )
