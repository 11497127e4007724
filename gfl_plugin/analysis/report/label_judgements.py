r"""How far the sides of annotations lie from those of the detections that found them, in calibrated margins.

The margin of side s is :math:`q \, u_s \, w_s`:

- :math:`u_s`: the predicted standard deviation of the side; without one, the width or height of the box.
- :math:`w_s = \sqrt{(\nu + \sum_{t \ne s} r_t^2) / (\nu + 3)}`, with :math:`r_t` the distance of side t of the label in
  units of :math:`u_t`, over a robust estimate of the scale of all r. This is the scale of one side given the three
  others if the four have a multivariate t distribution with :math:`\nu` degrees of freedom (Ding, arXiv 1604.00561): a
  detection that is wrong at its other sides as well says little about the label.
- q: calibrated by split conformal prediction on the images of the other folds, so that the margins of a detection
  contain all four sides of its label with the probability of the level. Some labels of these images are wrong as well;
  as q is a quantile, few of them make it slightly larger.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...metrics.matched_sides import MatchedSides
from ...metrics.matching import match_image
from ...structures.calibration import BOX, SIZE, STD
from ..calibration.conformal import needed_samples
from ..calibration.fit import Request, fit_margins, units_of
from .examined_image import Examination, ExaminedImage
from .image_folds import FOLDS, image_folds

# A box with a side that is shifted by 40 % of its size inward has an IoU of 0.6 with the right one, and less with a
# detection that is not exact.
MATCH_IOU = 0.3
DEGREES_OF_FREEDOM = 5.0  # a common choice for robust estimates; 2 to 10 rank wrong labels about equally well
_NORMAL_MEDIAN = 0.6745  # median of the absolute value of a standard normal variable


@dataclass(frozen=True)
class LabelJudgements:
    """The annotations that a detection has found, those of all images in one list."""

    image: np.ndarray  # (N,) index in the examination
    object: np.ndarray  # (N,) index among the objects of the image
    detection: np.ndarray  # (N,) index among the detections of the image
    iou: np.ndarray  # (N,) of annotation and detection
    labelled: np.ndarray  # (N, 4) box of the annotation: x1, y1, x2, y2 in pixels
    predicted: np.ndarray  # (N, 4) box of the detection
    margins: np.ndarray  # (N, 4) pixels, see the module

    @property
    def suspicion(self) -> np.ndarray:
        """(N, 4) distance of the annotated side from the predicted one in margins; above 1 it is outside."""
        return np.abs(self.labelled - self.predicted) / self.margins


def judge_labels(examination: Examination, level: float) -> LabelJudgements:
    """Compare all annotations with the detections that found them.

    Detections find annotations as in COCO's evaluation, at an IoU of ``MATCH_IOU``: those with higher scores first.
    Ignored regions are not judged.

    Args:
        examination: of a detector, on images that it was not trained on.
        level: probability that all four sides of a right annotation lie within the margins, in (0, 1).

    Returns:
        The annotations that were found.

    Raises:
        ValueError: if the images with a found annotation are too few to calibrate the level on other images.
    """
    matches = [match_image(one.detections, one.objects, one.ignored, MATCH_IOU) for one in examination.images]
    found = [np.flatnonzero(one.object >= 0) for one in matches]  # detections of each image
    rows = np.repeat(np.arange(len(found)), [len(one) for one in found])  # (N,) index of the image
    objects = np.concatenate([np.zeros(0, np.int64), *(one.object[own] for one, own in zip(matches, found))])
    iou = np.concatenate([np.zeros(0), *(one.iou[own] for one, own in zip(matches, found))])
    pairs = np.stack([objects, np.concatenate([np.zeros(0, np.int64), *found])], axis=1)  # (N, 2) object, detection
    sides = _sides(examination.images, rows, pairs)
    return LabelJudgements(
        image=rows,
        object=pairs[:, 0],
        detection=pairs[:, 1],
        iou=iou,
        labelled=sides.true,
        predicted=sides.predicted,
        margins=_cross_calibrated(sides, examination.classes, level),
    )


def _sides(images: Sequence[ExaminedImage], rows: np.ndarray, pairs: np.ndarray) -> MatchedSides:
    """The matches, with units in the place of standard deviations: see the module."""

    def gathered(value: Callable[[ExaminedImage], np.ndarray], column: int, *width: int) -> np.ndarray:
        values = [value(images[row])[pair[column]] for row, pair in zip(rows, pairs)]
        return np.array(values, np.float64).reshape(-1, *width)

    certain = all(image.sides is not None for image in images)
    sides = MatchedSides(
        predicted=gathered(lambda image: image.detections.boxes, 1, 4),
        true=gathered(lambda image: image.objects.boxes, 0, 4),
        labels=gathered(lambda image: image.detections.labels, 1).astype(np.int64),
        scores=gathered(lambda image: image.scores, 1),
        image=rows,
        std=gathered(lambda image: image.sides.std, 1, 4) if certain else None,
    )
    return replace(sides, std=units_of(sides, STD if certain else SIZE))


def _cross_calibrated(sides: MatchedSides, classes: tuple[str, ...], level: float) -> np.ndarray:
    """(N, 4) margins in pixels, each calibrated on the images of the other folds."""
    images = len(np.unique(sides.image))
    needed = needed_samples(level)
    most = -(-images // FOLDS)  # images of the largest fold
    if images - most < needed:
        raise ValueError(
            f"suspect labels at a level of {level:g} need annotations that were found in at least {needed} images "
            f"besides those of one of {FOLDS} folds, but there are {images} such images in all"
        )
    fold = image_folds(sides)
    request, margins = Request(level, BOX, STD), np.zeros((len(sides), 4))
    for own in range(FOLDS):
        others = fold != own
        widened = _widened(sides, _scale(sides.rows(others)))
        quantiles = fit_margins(widened.rows(others), request, classes)[0].quantiles
        margins[~others] = widened.std[~others] * quantiles
    return margins


def _scale(sides: MatchedSides) -> float:
    """Robust standard deviation of the distances in units; wrong labels hardly change it."""
    return max(float(np.median(np.abs(sides.errors) / sides.std)) / _NORMAL_MEDIAN, np.finfo(float).tiny)


def _widened(sides: MatchedSides, scale: float) -> MatchedSides:
    """Units that are wider where the other sides of the box disagree, see the module."""
    squares = (sides.errors / (sides.std * scale)) ** 2  # (N, 4)
    others = squares.sum(axis=1, keepdims=True) - squares
    return replace(sides, std=sides.std * np.sqrt((DEGREES_OF_FREEDOM + others) / (DEGREES_OF_FREEDOM + 3)))
