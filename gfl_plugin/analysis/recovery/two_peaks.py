"""Whether a distribution on bins has two peaks."""

from __future__ import annotations

import numpy as np

_DEPTH = 0.25  # of a valley, relative to the largest probability


def two_peaked(weights: np.ndarray) -> np.ndarray:
    """Look for a valley between two peaks.

    A distribution has two peaks if, at some bin, the probability is lower than the largest ones on both of its sides
    by at least a quarter of the distribution's largest probability.

    Args:
        weights: (N, K) probabilities of consecutive bins.

    Returns:
        (N,) bool.
    """
    before = np.maximum.accumulate(weights, axis=1)
    after = np.maximum.accumulate(weights[:, ::-1], axis=1)[:, ::-1]
    depth = np.minimum(before, after) - weights
    return depth.max(axis=1) >= _DEPTH * weights.max(axis=1)
