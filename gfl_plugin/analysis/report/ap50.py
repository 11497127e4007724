"""COCO's average precision at one IoU, from detections that are known to be true or false."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_RECALLS = np.linspace(0, 1, 101)  # COCO's


@dataclass(frozen=True)
class Outcomes:
    """Detections of a data set that count as true or as false, in the order of its images."""

    scores: np.ndarray  # (N,)
    labels: np.ndarray  # (N,) class index
    true: np.ndarray  # (N,) bool
    objects: np.ndarray  # (C,) number of objects of each class


def mean_average_precision(outcomes: Outcomes) -> float:
    """Compute the mean of the average precision over classes.

    Args:
        outcomes: the detections.

    Returns:
        Percent, over the classes with objects; NaN without them.
    """
    return _mean(outcomes, np.flatnonzero(outcomes.objects > 0))


def repaired_precision(outcomes: Outcomes, before: np.ndarray) -> float:
    """The same after objects were taken out.

    Args:
        outcomes: the detections, and the objects that are left.
        before: (C,) number of objects of each class before.

    Returns:
        Percent. The classes are those that had objects, without those that have neither objects nor detections now;
        the AP of a class that has detections only is 0.
    """
    detected = np.bincount(outcomes.labels, minlength=len(before)) > 0
    return _mean(outcomes, np.flatnonzero((before > 0) & ((outcomes.objects > 0) | detected)))


def _mean(outcomes: Outcomes, classes: np.ndarray) -> float:
    order = np.argsort(outcomes.labels, kind="stable")
    labels, scores, true = outcomes.labels[order], outcomes.scores[order], outcomes.true[order]
    starts, ends = (np.searchsorted(labels, classes, side=side) for side in ("left", "right"))
    values = [
        average_precision(scores[start:end], true[start:end], int(outcomes.objects[label]))
        for label, start, end in zip(classes, starts, ends)
    ]
    return 100 * float(np.mean(values)) if values else float("nan")


def average_precision(scores: np.ndarray, true: np.ndarray, objects: int) -> float:
    """Compute the average precision of one class: the mean of the precision at 101 recalls, as COCO's evaluation does.

    Args:
        scores: (N,); of equal scores, the first counts as the higher one.
        true: (N,) bool.
        objects: number of objects to be found.

    Returns:
        A value in [0, 1]; 0 without objects.
    """
    if not objects or not len(scores):
        return 0.0
    hits = np.cumsum(true[np.argsort(-scores, kind="stable")])
    precision = hits / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]  # the highest at this or a higher recall
    index = np.searchsorted(hits / objects, _RECALLS, side="left")
    return float(np.append(precision, 0.0)[index].mean())
