"""A row of the benchmark's table: the cost of MMDetection's head and of the plugin's, timed in pairs."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .timing import seconds

WARM_UP = 2  # pairs before those that are counted


@dataclass(frozen=True)
class Row:
    """One cost."""

    name: str
    theirs: float  # of MMDetection's head, in ``unit``
    ours: float  # of the plugin's head, in ``unit``
    unit: str  # "ms", "MB" or "images/s"
    ratio: float  # MMDetection's cost divided by the plugin's: the median over the pairs
    low: float | None = None  # first quartile of the pairs' ratios
    high: float | None = None  # third quartile of the pairs' ratios
    floor: float | None = None  # what the machine cannot do faster, in ``unit``
    agreement: str = ""  # what was compared in the same run, and the largest difference

    def text(self, value: float | None) -> str:
        """A cost with its unit."""
        return "" if value is None else f"{value:.2f} {self.unit}" if value < 10 else f"{value:.0f} {self.unit}"


def timed_row(
    name: str,
    runs: Sequence[Callable[[], object]],
    count: int,
    device: str,
    floor: float | None = None,
    agreement: str = "",
) -> Row:
    """Time two calls in turn: theirs, ours, theirs, ours, ...

    Args:
        name: of the row.
        runs: MMDetection's call, the plugin's call.
        count: number of counted pairs.
        device: that they use.
        floor: seconds.
        agreement: see :class:`Row`.
    """
    times = [tuple(seconds(run, device) for run in runs) for _ in range(count + WARM_UP)]
    return row_of_times(name, times[WARM_UP:], floor, agreement)


def row_of_times(
    name: str, times: Sequence[tuple[float, float]], floor: float | None = None, agreement: str = ""
) -> Row:
    """The medians of pairs of times.

    Args:
        name: of the row.
        times: seconds of MMDetection's head and of the plugin's, one pair per run.
        floor: seconds.
        agreement: see :class:`Row`.
    """
    theirs, ours = zip(*times)
    ratios = [a / b for a, b in times]
    low, _, high = statistics.quantiles(ratios, n=4)
    medians = 1000 * statistics.median(theirs), 1000 * statistics.median(ours)
    floor = None if floor is None else 1000 * floor
    return Row(name, *medians, "ms", statistics.median(ratios), low, high, floor, agreement)


def differences_text(differences: dict[str, float]) -> str:
    """Names and values of differences, for :attr:`Row.agreement`."""
    return ", ".join(f"{name} {value:.1e}" for name, value in differences.items())
