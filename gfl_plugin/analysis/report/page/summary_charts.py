"""Charts of the summary: AP of the models, and what their errors cost."""

from __future__ import annotations

import math
from collections.abc import Sequence

import altair as alt

from ..report_content import ERROR_KINDS, ModelReport
from .chart import INK, Chart, color_of
from .words import KINDS, number

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")


def summary_charts(models: Sequence[ModelReport]) -> list[Chart]:
    """Charts that show all models beside each other.

    Args:
        models: of the report.

    Returns:
        Those that have something to show.
    """
    return [chart for chart in (_accuracy(models), _errors(models)) if chart is not None]


def _accuracy(models: Sequence[ModelReport]) -> Chart | None:
    """Bars of AP, with a mark where a perfect ranking would be."""
    rows = [
        {"model": model.name, "metric": name, "value": value, "perfect": _or_none(accuracy.perfect_ranking.get(name))}
        for model in models
        for accuracy in [model.accuracy]
        for name in METRICS
        if (value := _or_none(accuracy.metrics.get(name))) is not None
    ]
    if not rows:
        return None
    names = [model.name for model in models]
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("metric:N", sort=list(METRICS), title=None, axis=alt.Axis(labelAngle=0, ticks=False)),
        xOffset=alt.XOffset("model:N", sort=names, scale=alt.Scale(paddingInner=0.15)),
    )
    scale = alt.Scale(domain=[0, 100], nice=False)
    bars = base.mark_bar().encode(
        y=alt.Y("value:Q", title="percent", scale=scale), color=alt.Color("model:N", scale=color_of(names))
    )
    marks = base.mark_tick(color=INK, opacity=1, thickness=3).encode(y=alt.Y("perfect:Q", scale=scale))
    spec = alt.layer(bars, marks).properties(height=300)
    said = "; ".join(f"{row['model']} {row['metric']} {number(row['value'])}" for row in rows)
    return Chart("ap", "AP in percent; the lines are AP with a perfect ranking", f"Bar chart. {said}.", spec)


def _errors(models: Sequence[ModelReport]) -> Chart | None:
    """Bars of the points of AP50 that each kind of error costs."""
    rows = [
        {"model": model.name, "kind": KINDS[error.kind][0], "gain": error.ap50_gain}
        for model in models
        for error in model.accuracy.errors
        if _or_none(error.ap50_gain) is not None
    ]
    if not rows:
        return None
    names = [model.name for model in models]
    order = [KINDS[kind][0] for kind in ERROR_KINDS]
    spec = (
        alt.Chart(alt.Data(values=rows))
        .mark_bar()
        .encode(
            x=alt.X("gain:Q", title="points of AP50", axis=alt.Axis(tickCount=5)),
            y=alt.Y("kind:N", sort=order, title=None, axis=alt.Axis(labelLimit=170, ticks=False)),
            yOffset=alt.YOffset("model:N", sort=names, scale=alt.Scale(paddingInner=0.15)),
            color=alt.Color("model:N", scale=color_of(names)),
        )
        .properties(height=max(300, 90 + 6 * (12 * len(names) + 10)))
    )
    said = "; ".join(f"{row['model']}: {row['kind']} {number(row['gain'])}" for row in rows)
    return Chart("errors", "What each kind of error costs, in points of AP50", f"Bar chart. {said}.", spec)


def _or_none(value: float | None) -> float | None:
    """The value if it is a finite number."""
    return value if value is not None and math.isfinite(value) else None
