"""What each kind of error costs: the AP50 that a detector would gain if only this kind were repaired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .ap50 import Outcomes, mean_average_precision, repaired_precision
from .error_kinds import ImageErrors, missed_objects
from .examined_image import ExaminedImage
from .report_content import CORRECT, ERROR_KINDS, IGNORED, ErrorCost

_SUPPRESSED = ("both", "duplicate", "background")  # are repaired by leaving them out


@dataclass(frozen=True)
class AllErrors:
    """The detections and the objects of all images."""

    scores: np.ndarray  # (N,)
    labels: np.ndarray  # (N,) class index
    kinds: np.ndarray  # (N,) str, without IGNORED
    objects: np.ndarray  # (N,) row of the object that the kind is about, -1 without one
    object_labels: np.ndarray  # (G,) class index
    missed: np.ndarray  # (G,) bool
    classes: int

    @property
    def outcomes(self) -> Outcomes:
        """The detections as they are."""
        counts = np.bincount(self.object_labels, minlength=self.classes)
        return Outcomes(self.scores, self.labels, self.kinds == CORRECT, counts)


def all_errors(images: Sequence[ExaminedImage], errors: Sequence[ImageErrors], classes: int) -> AllErrors:
    """Join the detections and objects of all images. Detections in ignored regions are left out.

    Args:
        images: the images.
        errors: what their detections are.
        classes: number of classes.

    Returns:
        All of them, in the order of the images.
    """
    first, columns, missed = 0, [], []
    for image, own in zip(images, errors):
        rows = own.kinds != IGNORED
        about = np.where(own.objects >= 0, own.objects + first, -1)
        columns.append((image.scores[rows], image.detections.labels[rows], own.kinds[rows], about[rows]))
        count = len(image.objects.labels)
        missed.append(np.isin(np.arange(count), missed_objects(own.kinds, own.objects, count)))
        first += count
    scores, labels, kinds, objects = map(np.concatenate, zip(*columns))
    object_labels = np.concatenate([image.objects.labels for image in images])
    return AllErrors(scores, labels, kinds, objects, object_labels, np.concatenate(missed), classes)


def error_costs(errors: AllErrors) -> tuple[ErrorCost, ...]:
    """Compute the cost of each kind: AP50 with an oracle for this kind alone, minus AP50.

    The oracles are those of TIDE (arXiv 2008.08115, section 2.3): the class of a classification error is corrected;
    the box of a localization error becomes that of the object; of several detections that then find the same object,
    the one with the highest score stays; other false positives are left out; missed objects are not counted as objects.

    Args:
        errors: of all images.

    Returns:
        In the order of ERROR_KINDS; ``shown`` is 0. The gains are NaN without objects.
    """
    before = errors.outcomes
    base = mean_average_precision(before)
    costs = []
    for kind in ERROR_KINDS:
        count = int(errors.missed.sum()) if kind == "missed" else int((errors.kinds == kind).sum())
        gain = repaired_precision(repaired(errors, kind), before.objects) - base if count else 0.0
        costs.append(ErrorCost(kind, count, gain if np.isfinite(base) else float("nan")))
    return tuple(costs)


def repaired(errors: AllErrors, kind: str) -> Outcomes:
    """The detections with one kind of error repaired.

    Args:
        errors: of all images.
        kind: one of ERROR_KINDS.

    Returns:
        The detections and the number of objects after the repair.
    """
    before = errors.outcomes
    if kind == "missed":
        return replace(
            before, objects=before.objects - np.bincount(errors.object_labels[errors.missed], None, errors.classes)
        )
    own = errors.kinds == kind
    if kind in _SUPPRESSED:
        return _rows(before, ~own)
    labels, true = before.labels.copy(), before.true | own
    labels[own] = errors.object_labels[errors.objects[own]]
    return _rows(replace(before, labels=labels, true=true), ~true | _first_of_object(errors, true))


def _first_of_object(errors: AllErrors, true: np.ndarray) -> np.ndarray:
    """(N,) whether a detection has the highest score of the true ones that are about the same object."""
    rows = np.flatnonzero(true)
    rows = rows[np.argsort(-errors.scores[rows], kind="stable")]
    _, first = np.unique(errors.objects[rows], return_index=True)
    chosen = np.zeros(len(true), bool)
    chosen[rows[first]] = True
    return chosen


def _rows(outcomes: Outcomes, rows: np.ndarray) -> Outcomes:
    return replace(outcomes, scores=outcomes.scores[rows], labels=outcomes.labels[rows], true=outcomes.true[rows])
