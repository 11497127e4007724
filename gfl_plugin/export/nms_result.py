"""Whether detections are a result of NMS that rounding allows.

Of two overlapping boxes with equal scores, NMS keeps the first, and what it keeps decides about further boxes. Two
programs whose numbers differ in the last bits may therefore keep different boxes, and both be right.
"""

from __future__ import annotations

import numpy as np

from ..metrics.matching import pairwise_overlap
from .runner.detect import Detections
from .selection_limits import Limits


def is_nms_result(kept: Detections, candidates: Detections, limits: Limits) -> bool:
    """Whether NMS of some boxes can give these detections if scores, boxes and IoUs have small errors.

    Args:
        kept: the detections.
        candidates: all boxes of the image above the score threshold, before NMS.
        limits: thresholds, and what counts as a small error.

    Returns:
        True if each detection is one of the boxes, no two of them suppress each other, and each other box is suppressed
        by one of them or has no place among the best.
    """
    if not len(kept):
        return bool((candidates.scores <= limits.score_threshold + limits.tolerance).all())
    if not _are_among(kept, candidates, limits):
        return False
    within = _suppression(kept, kept, limits)
    np.fill_diagonal(within, -1)
    if within.max() > limits.iou_threshold + limits.tolerance:
        return False
    overlaps = _suppression(candidates, kept, limits)  # (N, K)
    better = kept.scores[None] >= candidates.scores[:, None] - limits.tolerance
    left_out = (better & (overlaps >= limits.iou_threshold - limits.tolerance)).any(axis=1)
    lowest = kept.scores.min() if len(kept) >= limits.max_per_image else limits.score_threshold
    return bool(
        (
            left_out
            | _are_equal(candidates, kept, limits).any(axis=1)
            | (candidates.scores <= lowest + limits.tolerance)
        ).all()
    )


def _are_among(kept: Detections, candidates: Detections, limits: Limits) -> bool:
    """Whether each detection is a candidate of its own."""
    rows, columns = np.nonzero(_are_equal(kept, candidates, limits))
    first = np.unique(rows, return_index=True)
    return len(first[0]) == len(kept) and len(np.unique(columns)) >= len(kept)


def _are_equal(one: Detections, other: Detections, limits: Limits) -> np.ndarray:
    """(N, M) bool, whether two detections are equal but for rounding."""
    boxes = np.abs(one.boxes[:, None].astype(np.float64) - other.boxes[None]).max(axis=2, initial=0.0)
    scores = np.abs(one.scores[:, None] - other.scores[None])
    return (boxes <= limits.pixels) & (scores <= limits.tolerance) & (one.labels[:, None] == other.labels[None])


def _suppression(one: Detections, other: Detections, limits: Limits) -> np.ndarray:
    """(N, M) IoU of detections that can suppress each other; -1 for those of different classes."""
    overlaps = pairwise_overlap(one.boxes, other.boxes)
    return overlaps if limits.class_agnostic else np.where(one.labels[:, None] == other.labels[None], overlaps, -1.0)
