"""Row of the benchmark's table: the cost of MMDetection's head and of the plugin's, timed in pairs."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from .paired_cost import alternate_times


@dataclass(frozen=True)
class Row:
    """Cost of one operation with each head."""

    name: str
    theirs: float  # of MMDetection's head, in ``unit``
    ours: float  # of the plugin's head, in ``unit``
    unit: str  # "ms", "MB" or "images/s"
    ratio: float  # MMDetection's cost divided by the plugin's: the median over the pairs
    low: float | None = None  # first quartile of the pairs' ratios
    high: float | None = None  # third quartile of the pairs' ratios
    floor: float | None = None  # lower bound on this machine, in ``unit``
    agreement: str = ""  # what was compared in the same run, and the largest difference

    def text(self, value: float | None) -> str:
        """Format a cost with its unit.

        Args:
            value: cost in ``unit``, or None.

        Returns:
            The text; empty for None.
        """
        return "" if value is None else f"{value:.2f} {self.unit}" if value < 10 else f"{value:.0f} {self.unit}"


def timed_row(
    name: str,
    runs: Sequence[Callable[[], object]],
    count: int,
    device: str,
    floor: float | None = None,
    agreement: str = "",
) -> Row:
    """Time two calls alternately: theirs, ours, theirs, ours, ...

    Args:
        name: name of the row.
        runs: MMDetection's call and the plugin's call.
        count: number of counted pairs.
        device: device that both use.
        floor: lower bound in seconds.
        agreement: see :class:`Row`.

    Returns:
        The row.
    """
    return row_of_times(name, alternate_times(runs, count, device), floor, agreement)


def row_of_times(
    name: str, times: Sequence[tuple[float, float]], floor: float | None = None, agreement: str = ""
) -> Row:
    """Compute the medians of pairs of times.

    Args:
        name: name of the row.
        times: seconds of MMDetection's head and of the plugin's, one pair per run.
        floor: lower bound in seconds.
        agreement: see :class:`Row`.

    Returns:
        The row, in milliseconds.
    """
    theirs, ours = zip(*times)
    ratios = [a / b for a, b in times]
    low, _, high = statistics.quantiles(ratios, n=4)
    medians = 1000 * statistics.median(theirs), 1000 * statistics.median(ours)
    floor = None if floor is None else 1000 * floor
    return Row(name, *medians, "ms", statistics.median(ratios), low, high, floor, agreement)


def row_relative_to_gfl(name: str, times: Sequence[tuple[float, ...]]) -> Row:
    """Compute the medians of a method's times relative to GFL's, as quotients of calls under the same load.

    Args:
        name: name of the method's row.
        times: seconds of the method with MMDetection's head and with the plugin's, and of GFL with both, one tuple per
            turn.

    Returns:
        The row.
    """
    quotients = [(1e-3 * turn[0] / turn[2], 1e-3 * turn[1] / turn[3]) for turn in times]
    row = row_of_times(f"{name}, relative to GFL", quotients)
    return replace(row, unit="x GFL's time")


def differences_text(differences: dict[str, float]) -> str:
    """Format differences for :attr:`Row.agreement`.

    Args:
        differences: values by name.

    Returns:
        The text.
    """
    return ", ".join(f"{name} {value:.1e}" for name, value in differences.items())
