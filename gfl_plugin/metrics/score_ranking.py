"""How well the scores of detections order their boxes by IoU: correlations of score and IoU."""

from __future__ import annotations

import numpy as np


def pearson(scores: np.ndarray, iou: np.ndarray) -> float:
    """Compute Pearson's correlation: how close score and IoU are to a line.

    Args:
        scores: (N,) finite.
        iou: (N,) finite.

    Returns:
        A value in [-1, 1]; NaN if one of them has fewer than two different values.
    """
    if not len(scores) or np.ptp(scores) == 0 or np.ptp(iou) == 0:
        return float("nan")
    one, other = (np.asarray(values, np.float64) - np.mean(values) for values in (scores, iou))
    norm = np.sqrt((one @ one) * (other @ other))
    return float(np.clip(one @ other / norm, -1, 1)) if norm > 0 else float("nan")


def spearman(scores: np.ndarray, iou: np.ndarray) -> float:
    """Compute Spearman's rank correlation: Pearson's correlation of the ranks, equal values sharing their mean rank.

    Args:
        scores: (N,) finite.
        iou: (N,) finite.

    Returns:
        A value in [-1, 1]; NaN if one of them has fewer than two different values.
    """
    return pearson(_ranks(scores), _ranks(iou))


def _ranks(values: np.ndarray) -> np.ndarray:
    """(N,) ranks from 1, the mean rank for equal values."""
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[index]
