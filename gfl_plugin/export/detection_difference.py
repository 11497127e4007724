"""How much the detections of two programs differ for the same images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..metrics.matching import pairwise_overlap
from .nms_result import is_nms_result
from .runner.detect import Detections
from .selection_limits import Limits

_SAME_OBJECT = 0.5  # lowest IoU of two detections that are compared


@dataclass(frozen=True)
class Difference:
    """Differences over some images."""

    images: int
    detections: int  # of the first program
    boxes: float  # largest difference of a coordinate of two detections of one object, pixels of the original image
    scores: float  # largest difference of their scores
    std: float | None  # largest difference of standard deviations of their sides, pixels; None where there are none
    # Detections without a partner that rounding explains: their score is at the threshold, or not above the last of
    # max_per_image on the other side; their IoU with a better one is at the threshold of NMS; or NMS has chosen between
    # overlapping boxes of equal score.
    borderline: int
    one_sided: int  # other detections without a partner


def difference(
    found: Sequence[Detections],
    others: Sequence[Detections],
    limits: Limits,
    with_std: bool = False,
    candidates: Callable[[int], Detections] | None = None,
) -> Difference:
    """Compare the detections of two programs.

    Args:
        found: detections of each image by the first program.
        others: detections of the same images by the second one.
        limits: thresholds of both.
        with_std: whether to compare standard deviations.
        candidates: gives what the first program has before NMS, by number of the image; called where the detections
            differ. None if nobody knows.

    Returns:
        The differences.
    """
    near = alone = 0
    pairs = []
    for number, (one, other) in enumerate(zip(found, others)):
        rows, other_rows = _pairs(one, other)
        equal = _are_equal(one, other, rows, other_rows, limits)
        explained = False
        if candidates is not None and not (equal.all() and len(rows) == len(one) == len(other)):
            before = candidates(number)
            explained = all(is_nms_result(side, before, limits) for side in (one, other))
        if explained:  # the others are pairs of different candidates
            rows, other_rows = rows[equal], other_rows[equal]
        pairs.append((rows, other_rows))
        for own, matched, opposite in ((one, rows, other), (other, other_rows, one)):
            for row in sorted({*range(len(own))} - {*matched.tolist()}):
                borderline = explained or _is_borderline(own, row, opposite, limits)
                near, alone = near + borderline, alone + (not borderline)

    def largest(field: str) -> float:
        parts = (
            np.abs(getattr(one, field)[rows].astype(np.float64) - getattr(other, field)[other_rows])
            for one, other, (rows, other_rows) in zip(found, others, pairs)
        )
        return max((float(part.max(initial=0.0)) for part in parts), default=0.0)

    return Difference(
        images=len(found),
        detections=sum(map(len, found)),
        boxes=largest("boxes"),
        scores=largest("scores"),
        std=largest("std") if with_std else None,
        borderline=near,
        one_sided=alone,
    )


def _are_equal(
    one: Detections, other: Detections, rows: np.ndarray, other_rows: np.ndarray, limits: Limits
) -> np.ndarray:
    """(P,) bool, whether the detections of a pair are equal but for rounding."""
    boxes = np.abs(one.boxes[rows].astype(np.float64) - other.boxes[other_rows]).max(axis=1, initial=0.0)
    scores = np.abs(one.scores[rows] - other.scores[other_rows])
    return (boxes <= limits.pixels) & (scores <= limits.tolerance)


def _pairs(one: Detections, other: Detections) -> tuple[np.ndarray, np.ndarray]:
    """Rows of detections of the same object, the nearest boxes first."""
    apart = np.abs(one.boxes[:, None].astype(np.float64) - other.boxes[None]).max(axis=2, initial=0.0)  # (N, M)
    same = (pairwise_overlap(one.boxes, other.boxes) >= _SAME_OBJECT) | (apart == 0)  # some boxes have no area
    possible = np.argwhere(same & (one.labels[:, None] == other.labels[None]))
    order = np.lexsort((np.abs(one.scores[possible[:, 0]] - other.scores[possible[:, 1]]), apart[tuple(possible.T)]))
    rows: dict[int, int] = {}
    taken: set[int] = set()
    for row, other_row in possible[order].tolist():
        if row not in rows and other_row not in taken:
            rows[row] = other_row
            taken.add(other_row)
    return np.array([*rows], np.int64), np.array([*rows.values()], np.int64)


def _is_borderline(own: Detections, row: int, other: Detections, limits: Limits) -> bool:
    """Whether rounding may have left a detection out on the other side."""
    score = float(own.scores[row])
    if abs(score - limits.score_threshold) <= limits.tolerance:
        return True
    # Where the other side is full, one that has no partner, which counts itself, may have taken the last place.
    if len(other) >= limits.max_per_image and score <= float(other.scores.min()) + limits.tolerance:
        return True
    better = other.scores >= score - limits.tolerance
    if not limits.class_agnostic:
        better &= other.labels == own.labels[row]
    overlaps = pairwise_overlap(own.boxes[row : row + 1], other.boxes[better])
    return bool((np.abs(overlaps - limits.iou_threshold) <= limits.tolerance).any())
