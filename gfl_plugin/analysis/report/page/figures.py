"""All charts of a report."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..report_content import ModelReport
from .chart import Chart
from .score_charts import score_chart
from .side_charts import coverage_chart, error_chart
from .summary_charts import summary_charts


@dataclass(frozen=True)
class Figures:
    """Charts by the section that shows them; those per model have None where a model lacks the part."""

    summary: tuple[Chart, ...]
    scores: tuple[Chart | None, ...]
    errors: tuple[Chart | None, ...]
    coverage: tuple[Chart | None, ...]

    def all(self) -> list[Chart]:
        """All charts.

        Returns:
            Those that exist.
        """
        charts = (*self.summary, *self.scores, *self.errors, *self.coverage)
        return [chart for chart in charts if chart is not None]


def figures(models: Sequence[ModelReport]) -> Figures:
    """Draw up the charts of all models.

    Args:
        models: of the report.

    Returns:
        The charts; nothing is rendered yet.
    """
    files = file_names([model.name for model in models])
    return Figures(
        summary=tuple(summary_charts(models)),
        scores=tuple(
            score_chart(f"score_iou_{file}", f"{one.name}: score and IoU", one.scores, n)
            if one.scores is not None and len(one.scores.scores)
            else None
            for n, (file, one) in enumerate(zip(files, models))
        ),
        errors=tuple(
            error_chart(f"side_errors_{file}", f"{one.name}: σ and error of sides", one.sides) if one.sides else None
            for file, one in zip(files, models)
        ),
        coverage=tuple(
            coverage_chart(f"coverage_{file}", f"{one.name}: coverage of intervals", one.sides) if one.sides else None
            for file, one in zip(files, models)
        ),
    )


def file_names(names: Sequence[str]) -> list[str]:
    """Names of models as parts of file names.

    Args:
        names: any texts.

    Returns:
        Different names of letters, digits, ``_``, ``-`` and ``.``.
    """
    safe = [re.sub(r"[^A-Za-z0-9_.-]+", "_", name)[:60] or "model" for name in names]
    return [one if safe.count(one) == 1 else f"{one}_{number}" for number, one in enumerate(safe)]
