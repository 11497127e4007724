"""All rows of the benchmark's table, in groups that are measured together."""

from __future__ import annotations

from collections.abc import Iterator

from .detector_rows import detector_rows
from .gflv2_rows import gflv2_rows
from .head_rows import head_rows
from .ld_rows import ld_rows
from .machine_limits import MachineLimits
from .memory_rows import memory_rows
from .prediction_rows import prediction_rows
from .row import Row
from .settings import Report, Settings

_GROUPS = {
    ("assignment", "loss", "loss + backward", "kept for backward"): head_rows,
    ("GFLV2",): gflv2_rows,
    ("LD",): ld_rows,
    ("peak memory of a step",): memory_rows,
    ("predict_by_feat",): prediction_rows,
    ("training step", "head forward", "test"): detector_rows,
}  # first characters of the rows' names -> function that measures these rows


def row_names() -> list[str]:
    """List the first characters of the rows' names.

    Returns:
        One name per row or group of rows.
    """
    return [name for names in _GROUPS for name in names]


def measure(
    settings: Settings, limits: MachineLimits, report: Report = lambda name: None, only: str = ""
) -> Iterator[Row]:
    """Measure rows.

    Args:
        settings: settings of the benchmark.
        limits: limits of the machine.
        report: function that is called with the name of the current measurement.
        only: first characters of the names of the rows to measure; empty for all rows.

    Yields:
        Each row as soon as it is measured.

    Raises:
        Disagreement: if the numbers of the two heads differ, before any of their times is yielded.
    """
    for names, rows in _GROUPS.items():
        if any(name.startswith(only) or only.startswith(name) for name in names):
            yield from (row for row in rows(settings, limits, report) if row.name.startswith(only))
