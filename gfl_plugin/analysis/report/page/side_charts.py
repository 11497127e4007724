"""Charts of side uncertainty: standard deviation against error, and coverage of the intervals."""

from __future__ import annotations

import math

import altair as alt
import numpy as np

from ..report_content import SIDES, SideQuality
from .chart import COLORS, Chart, color_of
from .words import percent

MAX_POINTS = 1200
BINS = 8  # of equal numbers of sides
GROUPS = ("small", "medium", "large", "all")


def error_chart(name: str, title: str, sides: SideQuality, color: int) -> Chart | None:
    """Draw the error of sides against their standard deviation.

    Args:
        name: of the file.
        title: of the chart.
        sides: the model's figures.
        color: number of the model.

    Returns:
        The chart, or None without matches.
    """
    std, errors = np.asarray(sides.std, float), np.abs(np.asarray(sides.errors, float))
    usable = np.isfinite(std) & np.isfinite(errors) & (std > 0)
    if not usable.any():
        return None
    curve = [row for side in range(4) for row in _binned(std[:, side], errors[:, side], usable[:, side], SIDES[side])]
    low = 10 ** math.floor(math.log10(max(float(np.quantile(std[usable], 0.01)), 0.01)))
    high = 10 ** math.ceil(math.log10(max(float(std[usable].max()), 2 * low)))
    scale = alt.Scale(type="log", domain=[low, high], nice=False, clamp=True)
    values = [one for power in range(round(math.log10(low)), round(math.log10(high)) + 1) for one in [10.0**power]]
    axis = alt.Axis(values=values, format="~g")
    x = alt.X("std:Q", title="predicted σ (px)", scale=scale, axis=axis)
    y = alt.Y("error:Q", title="error (px)", scale=scale, axis=axis)
    layers = [
        alt.Chart(alt.Data(values=_points(std, errors, usable, low)))
        .mark_point(filled=True, size=8, opacity=0.3, color=COLORS[color % len(COLORS)])
        .encode(x=x, y=y),
        alt.Chart(alt.Data(values=[{"std": low, "error": low}, {"std": high, "error": high}]))
        .mark_line(style="muted", strokeDash=[5, 4], strokeWidth=1.5)
        .encode(x=x, y=y),
        alt.Chart(alt.Data(values=curve))
        .mark_line(point={"size": 34, "filled": True, "opacity": 1}, strokeWidth=2)
        .encode(
            x=x,
            y=y,
            color=alt.Color("side:N", scale=color_of(list(SIDES)), sort=list(SIDES)),
            strokeDash=alt.StrokeDash("side:N", sort=list(SIDES), legend=None),
        ),
    ]
    return Chart(
        name,
        title,
        f"Absolute error of {int(usable.sum())} sides against predicted standard deviation, on logarithmic axes, with "
        "the root mean square error of each side in bins of the standard deviation. The table holds the figures.",
        alt.layer(*layers).properties(height=300),
    )


def coverage_chart(name: str, title: str, sides: SideQuality) -> Chart | None:
    """Draw the share of sides within their interval.

    Args:
        name: of the file.
        title: of the chart.
        sides: the model's figures.

    Returns:
        The chart, or None if no group has a coverage.
    """
    rows = [
        {"side": one.side, "group": one.group, "coverage": 100 * one.coverage}
        for one in sides.figures
        if math.isfinite(one.coverage)
    ]
    if not rows:
        return None
    lowest = min(min(row["coverage"] for row in rows), 100 * sides.level)
    scale = alt.Scale(domain=[max(0, 10 * math.floor((lowest - 1) / 10)), 100], nice=False)
    layers = [
        alt.Chart(alt.Data(values=[{"level": 100 * sides.level}]))
        .mark_rule(style="ink", strokeWidth=1.5)
        .encode(x=alt.X("level:Q", scale=scale)),
        alt.Chart(alt.Data(values=rows))
        .mark_point(filled=True, size=80, opacity=1)
        .encode(
            x=alt.X("coverage:Q", title="percent of sides within the interval", scale=scale),
            y=alt.Y("side:N", sort=[*SIDES, "all"], title=None, axis=alt.Axis(grid=True, ticks=False)),
            color=alt.Color("group:N", scale=color_of(list(GROUPS)), sort=list(GROUPS)),
            shape=alt.Shape("group:N", scale=alt.Scale(domain=list(GROUPS)), sort=list(GROUPS)),
        ),
    ]
    said = "; ".join(f"{row['side']}, {row['group']}: {percent(row['coverage'] / 100)}" for row in rows)
    return Chart(name, title, f"Coverage by side and size. {said}.", alt.layer(*layers).properties(height=190))


def _points(std: np.ndarray, errors: np.ndarray, usable: np.ndarray, low: float) -> list[dict]:
    """At most ``MAX_POINTS`` sides, evenly from all matches."""
    std, errors = std[usable], np.maximum(errors[usable], low)
    every = max(1, math.ceil(len(std) / MAX_POINTS))
    return [{"std": round(float(s), 3), "error": round(float(e), 3)} for s, e in zip(std[::every], errors[::every])]


def _binned(std: np.ndarray, errors: np.ndarray, usable: np.ndarray, side: str) -> list[dict]:
    """Root mean square error of bins of equal numbers of sides, in the order of the standard deviation."""
    order = np.argsort(std[usable], kind="stable")
    parts = np.array_split(order, min(BINS, max(1, len(order) // 5)))
    std, errors = std[usable], errors[usable]
    return [
        {"side": side, "std": float(std[part].mean()), "error": float(np.sqrt(np.square(errors[part]).mean()))}
        for part in parts
        if len(part)
    ]
