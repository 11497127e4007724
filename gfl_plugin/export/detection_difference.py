"""How much the detections of two programs differ for the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..metrics.matching import pairwise_overlap
from .runner.detect import Detections

_SAME_OBJECT = 0.5  # lowest IoU of two detections that are compared


@dataclass(frozen=True)
class Limits:
    """What decides whether a detection is kept, and how near to it rounding may change the decision."""

    score_threshold: float
    max_per_image: int
    iou_threshold: float
    class_agnostic: bool
    tolerance: float = 1e-4  # of scores and of IoU


@dataclass(frozen=True)
class Difference:
    """Differences over some images."""

    images: int
    detections: int  # of the first program
    boxes: float  # largest difference of a coordinate of two detections of one object, pixels of the original image
    scores: float  # largest difference of their scores
    std: float | None  # largest difference of standard deviations of their sides, pixels; None where there are none
    # Detections without a partner that are as near to a threshold as rounding: at the score threshold, at the score of
    # the last of max_per_image, or at the IoU at which another one suppresses them.
    borderline: int
    one_sided: int  # other detections without a partner


def difference(
    found: Sequence[Detections], others: Sequence[Detections], limits: Limits, with_std: bool = False
) -> Difference:
    """Compare the detections of two programs.

    Args:
        found: detections of each image by the first program.
        others: detections of the same images by the second one.
        limits: thresholds of both.
        with_std: whether to compare standard deviations.

    Returns:
        The differences.
    """
    pairs = [_pairs(one, other) for one, other in zip(found, others)]
    near = alone = 0
    for one, other, (rows, other_rows) in zip(found, others, pairs):
        for own, matched, opposite in ((one, rows, other), (other, other_rows, one)):
            for row in sorted({*range(len(own))} - {*matched.tolist()}):
                borderline = _is_borderline(own, row, opposite, limits)
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
    full = [one for one in (own, other) if len(one) >= limits.max_per_image]
    if any(abs(score - float(one.scores.min())) <= limits.tolerance for one in full):
        return True
    better = other.scores >= score - limits.tolerance
    if not limits.class_agnostic:
        better &= other.labels == own.labels[row]
    overlaps = pairwise_overlap(own.boxes[row : row + 1], other.boxes[better])
    return bool((np.abs(overlaps - limits.iou_threshold) <= limits.tolerance).any())
