r"""The distribution over bins with a given mean that is nearest to the uniform one.

Of all distributions with mean m, :math:`P(y_i) \propto e^{-t y_i}` has the largest entropy; t is the number for which
:math:`\sum_i P(y_i)\,y_i = m`. A softmax gives it for the logits :math:`-t\,y_i`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real

_STEPS = 200  # more than bisection needs for any two fp64 numbers of the interval


def tilted_logits(bins: Sequence[float], mean: float) -> list[float]:
    """Logits whose softmax has a given mean, linear in the bins.

    Args:
        bins: at least two increasing distances.
        mean: between the first and the last bin, both excluded.

    Returns:
        One logit per bin; their average is 0.

    Raises:
        ValueError: for a mean outside the bins.
    """
    first, last = bins[0], bins[-1]
    if not (isinstance(mean, Real) and first < mean < last):
        raise ValueError(f"it must lie between the first bin, {first:g}, and the last, {last:g}")
    # Bins in units of their range, so that one interval of t fits all. The mean falls as t grows.
    units = [(value - first) / (last - first) for value in bins]
    wanted = (mean - first) / (last - first)
    bound = 1.0
    while not _mean(units, bound) <= wanted <= _mean(units, -bound):
        bound *= 2
    low, high = -bound, bound
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if _mean(units, middle) > wanted else (low, middle)
    center = math.fsum(units) / len(units)
    return [low * (center - unit) for unit in units]


def _mean(values: Sequence[float], tilt: float) -> float:
    """Mean of values with weights e^(-tilt·value)."""
    largest = max(-tilt * values[0], -tilt * values[-1])
    weights = [math.exp(-tilt * value - largest) for value in values]
    return math.fsum(weight * value for weight, value in zip(weights, values)) / math.fsum(weights)
