"""The tables that the command prints: accuracy, and what the kinds of errors cost."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..tables import Column, Table
from .report_content import ERROR_KINDS, ModelReport

_SHOWN = ("AP", "AP50", "AP75")


def accuracy_table(reports: Sequence[ModelReport]) -> Table:
    """AP of each model, as it is and with a perfect ranking.

    Args:
        reports: of the models.

    Returns:
        One row per model.
    """
    headings = (*_SHOWN, "AP, boxes ranked by true IoU", "score ~ IoU (Spearman)", "LaECE0 %", "D-ECE %")
    return Table(
        (Column("model", numeric=False), *map(Column, headings)), tuple(_accuracy_row(report) for report in reports)
    )


def _accuracy_row(report: ModelReport) -> tuple[str, ...]:
    accuracy, scores = report.accuracy, report.scores
    values = [*(accuracy.metrics[name] for name in _SHOWN), accuracy.perfect_ranking["AP"]]
    quality = (math.nan,) * 3 if scores is None else (scores.spearman, 100 * scores.la_ece, 100 * scores.d_ece)
    return (
        report.name,
        *(number(one, 1) for one in values),
        number(quality[0], 2),
        *(number(q, 1) for q in quality[1:]),
    )


def costs_table(reports: Sequence[ModelReport]) -> Table:
    """Points of AP50 that each model would gain without one kind of error.

    Args:
        reports: of the models.

    Returns:
        One row per model.
    """
    rows = [(one.name, *(number(cost.ap50_gain, 1) for cost in one.accuracy.errors)) for one in reports]
    return Table((Column("model", numeric=False), *map(Column, ERROR_KINDS)), tuple(rows))


def number(value: float, digits: int) -> str:
    """Format a number.

    Args:
        value: perhaps NaN.
        digits: after the point.

    Returns:
        The text; a dash for NaN.
    """
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"
