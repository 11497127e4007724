"""All rows of the benchmark's table, by the beginnings of their names."""

from __future__ import annotations

from collections.abc import Iterator

from .detector_rows import detector_rows
from .head_rows import head_rows
from .machine_limits import MachineLimits
from .memory_rows import memory_rows
from .prediction_rows import prediction_rows
from .row import Row
from .settings import Report, Settings

_GROUPS = {
    ("assignment", "loss", "loss + backward", "kept for backward"): head_rows,
    ("peak memory of a step",): memory_rows,
    ("predict_by_feat",): prediction_rows,
    ("training step", "head forward", "test"): detector_rows,
}  # rows that are measured together


def row_names() -> list[str]:
    """The beginnings of the rows' names."""
    return [name for names in _GROUPS for name in names]


def measure(
    settings: Settings, limits: MachineLimits, report: Report = lambda name: None, only: str = ""
) -> Iterator[Row]:
    """Measure rows, and give each one as soon as it is known.

    Args:
        settings: of the benchmark.
        limits: of the machine.
        report: called with what is being measured.
        only: beginning of the names of the wanted rows.

    Raises:
        Disagreement: where the numbers of the two heads differ, before any of their times is given.
    """
    for names, rows in _GROUPS.items():
        if any(name.startswith(only) or only.startswith(name) for name in names):
            yield from (row for row in rows(settings, limits, report) if row.name.startswith(only))
