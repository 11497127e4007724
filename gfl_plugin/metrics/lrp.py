"""Localization Recall Precision (LRP): localization errors, false positives and missed objects in one error.

Sources: Oksuz et al., "Localization Recall Precision (LRP): A New Performance Metric for Object Detection", ECCV 2018
(arXiv 1807.01696); Oksuz et al., "One Metric to Measure them All", TPAMI 2021 (arXiv 2011.10772).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np

from .matched_detections import MatchedDetections


@dataclass(frozen=True)
class LRPError:
    """LRP and its components, for detections with a score of at least ``score``. NaN: not defined.

    With T true positives, F false positives, M missed objects and the IoU threshold τ::

        error          = (Σ (1 − IoU) / (1 − τ) + F + M) / (T + F + M)
        localization   = Σ (1 − IoU) / T
        false_positive = F / (T + F) = 1 − precision
        false_negative = M / (T + M) = 1 − recall
    """

    error: float
    localization: float
    false_positive: float
    false_negative: float
    score: float


def lrp_per_score(detections: MatchedDetections, iou_thr: float) -> list[np.ndarray]:
    """Compute LRP of one class for all score thresholds that make a difference.

    Args:
        detections: of one class, matched greedily by score at ``iou_thr``. Detections below a threshold then never
            change the matches of those above it.
        iou_thr: τ, in [0, 1).

    Returns:
        Five arrays of length S + 1, the fields of LRPError, for the S different scores in falling order, after a
        threshold above all scores (infinity).
    """
    order = np.argsort(-detections.scores, kind="stable")
    scores, iou = detections.scores[order], detections.iou[order]
    ends = np.flatnonzero(np.append(scores[1:] != scores[:-1], True)) + 1 if len(scores) else np.zeros(0, np.int64)
    ends = np.append(0, ends)  # numbers of detections kept
    true = np.append(0, np.cumsum(iou > 0))[ends]
    lost = np.append(0, np.cumsum(np.where(iou > 0, 1 - iou, 0)))[ends]
    objects = len(detections.object_labels)
    return [
        _ratio(lost / (1 - iou_thr) + ends - true + objects - true, ends + objects - true),
        _ratio(lost, true),
        _ratio(ends - true, ends),
        _ratio(objects - true, np.full(len(ends), objects)),
        np.append(np.inf, scores[ends[1:] - 1]),
    ]


def lrp(detections: MatchedDetections, iou_thr: float = 0.5) -> LRPError:
    """Compute LRP of all detections, averaged over classes.

    Args:
        detections: matched at ``iou_thr``, greedily by score.
        iou_thr: τ, in [0, 1).

    Returns:
        Each field is the mean over the classes with objects for which it is defined, as COCO averages AP; ``error``
        and ``false_negative`` are 1 for a class without detections. NaN if it is defined for no class. ``score`` is
        the mean of the lowest scores.
    """
    return _average(detections, iou_thr, lambda error: len(error) - 1)


def optimal_lrp(detections: MatchedDetections, iou_thr: float = 0.5) -> LRPError:
    """Compute optimal LRP: the lowest LRP of each class over all score thresholds, averaged over classes.

    The thresholds are all scores of the class; the original implementation tries a grid of 0.01. Of equal errors, the
    lowest threshold is taken.

    Args:
        detections: matched at ``iou_thr``, greedily by score.
        iou_thr: τ, in [0, 1).

    Returns:
        As :func:`lrp`, with each class at its own threshold; ``score`` is the mean of these thresholds.
    """
    return _average(detections, iou_thr, lambda error: len(error) - 1 - int(error[::-1].argmin()))


def _average(detections: MatchedDetections, iou_thr: float, choose: Callable[[np.ndarray], int]) -> LRPError:
    """Average over the classes with objects, at the threshold that ``choose`` finds in a class's errors."""
    rows = []
    for one in detections.by_class().values():
        if not len(one.object_labels):
            continue
        columns = lrp_per_score(one, iou_thr)
        chosen = choose(columns[0])
        rows.append([column[chosen] for column in columns])
    values = np.array(rows, np.float64).reshape(-1, len(fields(LRPError)))
    defined = np.isfinite(values)
    means = _ratio(np.where(defined, values, 0).sum(axis=0), defined.sum(axis=0))
    return LRPError(*map(float, means))


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divide; NaN where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full(len(denominator), np.nan), where=denominator > 0)
