"""Probability distributions as weighted points: their moments, their average, and their distance to a law."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import wasserstein_distance

LAW_POINTS = 2001  # equally probable points that stand for a continuous law


@dataclass(frozen=True)
class PointLaws:
    """N distributions of K points each."""

    values: np.ndarray  # (N, K) pixels
    weights: np.ndarray  # (N, K) probabilities, each row sums to 1

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Moments:
    """Moments of N distributions."""

    mean: np.ndarray  # (N,) pixels
    std: np.ndarray  # (N,) pixels
    skewness: np.ndarray  # (N,) NaN for a distribution without spread


def equally_probable(count: int) -> np.ndarray:
    """Probabilities at the centers of equal parts of [0, 1].

    Args:
        count: number of parts.

    Returns:
        (count,) the quantiles at these probabilities are equally probable points of a law.
    """
    return (np.arange(count) + 0.5) / count


def moments(laws: PointLaws) -> Moments:
    """Compute mean, standard deviation and skewness.

    Args:
        laws: N distributions.

    Returns:
        Their moments.
    """
    mean = (laws.weights * laws.values).sum(axis=1)
    centered = laws.values - mean[:, None]
    std = np.sqrt((laws.weights * centered**2).sum(axis=1))
    third = (laws.weights * centered**3).sum(axis=1)
    spread = std > 1e-6  # pixels; below that rounding decides
    skewness = np.divide(third, std**3, out=np.full(len(std), np.nan), where=spread)
    return Moments(mean, std, skewness)


def average(laws: PointLaws) -> PointLaws:
    """Average distributions.

    Args:
        laws: N >= 1 distributions.

    Returns:
        One distribution, their mixture with equal shares.
    """
    return PointLaws(laws.values.reshape(1, -1), laws.weights.reshape(1, -1) / len(laws))


def distances(laws: PointLaws, law: np.ndarray) -> np.ndarray:
    """Wasserstein-1 distances: the mean way in pixels over which probability must move.

    Args:
        laws: N distributions.
        law: (Q,) equally probable points.

    Returns:
        (N,) pixels.
    """
    pairs = zip(laws.values, laws.weights)
    return np.array([wasserstein_distance(values, law, u_weights=weights) for values, weights in pairs])
