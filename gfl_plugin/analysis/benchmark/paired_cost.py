"""Cost of one call against another: both are timed alternately, so that they run under the same load."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .timing import seconds

WARM_UP = 2  # turns that are run first and not counted


@dataclass(frozen=True)
class PairedCost:
    """Cost of two calls."""

    name: str  # what was timed
    first: float  # median, seconds
    second: float  # median, seconds
    ratio: float  # second divided by first: the median over the pairs
    low: float  # first quartile of the pairs' ratios
    high: float  # third quartile of the pairs' ratios


def alternate_times(
    calls: Sequence[Callable[[], object]], count: int, device: str, pause: float = 0.0
) -> list[tuple[float, ...]]:
    """Time calls in turns: first, second, ..., first, second, ...

    Args:
        calls: the calls.
        count: number of counted turns.
        device: device that all of them use.
        pause: seconds before each call. The threads of some runtimes keep waiting in a loop after a call, which would
            slow down the next one.

    Returns:
        The seconds of each call, one tuple per turn.
    """

    def rested(call: Callable[[], object]) -> float:
        time.sleep(pause)
        return seconds(call, device)

    return [tuple(map(rested, calls)) for _ in range(count + WARM_UP)][WARM_UP:]


def paired_cost(name: str, calls: Sequence[Callable[[], object]], count: int, device: str) -> PairedCost:
    """Time two calls alternately and compare them.

    Args:
        name: see :class:`PairedCost`.
        calls: the first and the second call.
        count: number of counted pairs.
        device: device that both use.

    Returns:
        Their cost.
    """
    times = alternate_times(calls, count, device)
    first, second = zip(*times)
    ratios = [b / a for a, b in times]
    low, _, high = statistics.quantiles(ratios, n=4)
    return PairedCost(name, statistics.median(first), statistics.median(second), statistics.median(ratios), low, high)
