"""Charts of side uncertainty: standard deviation against error, and coverage of the intervals."""

from __future__ import annotations

import math

import altair as alt
import numpy as np

from ..report_content import SIDES, SideQuality
from .chart import INK, MUTED, Chart, color_of
from .words import percent

MAX_POINTS = 600
BINS = 8  # of equal numbers of sides
FEWEST = 10  # matches of a group in the chart of coverage; the table holds all
GROUPS = ("small", "medium", "large", "all")


def error_chart(name: str, title: str, sides: SideQuality) -> Chart | None:
    """Draw the error of sides against their standard deviation.

    Args:
        name: of the file.
        title: of the chart.
        sides: the model's figures.

    Returns:
        The chart, or None without matches.
    """
    std, errors = np.asarray(sides.std, float), np.abs(np.asarray(sides.errors, float))
    usable = np.isfinite(std) & np.isfinite(errors) & (std > 0)
    if not usable.any():
        return None
    curve = [row for side in range(4) for row in _binned(std[:, side], errors[:, side], usable[:, side], SIDES[side])]
    x_ends, y_ends = _ends(std[usable], 0.003), _ends(errors[usable], 0.05)
    x = alt.X("std:Q", title="predicted σ (px)", scale=_logarithmic(x_ends), axis=_axis(x_ends))
    y = alt.Y("error:Q", title="error (px)", scale=_logarithmic(y_ends), axis=_axis(y_ends))
    low, high = max(x_ends[0], y_ends[0]), min(x_ends[1], y_ends[1])
    layers = [
        alt.Chart(alt.Data(values=_points(std, errors, usable)))
        .mark_point(filled=True, size=8, opacity=0.35, color=MUTED, clip=True)
        .encode(x=x, y=y),
        alt.Chart(alt.Data(values=[{"std": low, "error": low}, {"std": high, "error": high}]))
        .mark_line(color=MUTED, strokeDash=[5, 4], strokeWidth=1.5)
        .encode(x=x, y=y),
        alt.Chart(alt.Data(values=curve))
        .mark_line(point={"size": 34, "filled": True, "opacity": 1}, strokeWidth=2, clip=True)
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
        alt.layer(*layers).properties(height=360),
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
        if math.isfinite(one.coverage) and one.matches >= FEWEST
    ]
    if not rows:
        return None
    groups = [one for one in GROUPS if one in {row["group"] for row in rows}]
    lowest = min(min(row["coverage"] for row in rows), 100 * sides.level)
    scale = alt.Scale(domain=[max(0, 10 * math.floor((lowest - 1) / 10)), 100], nice=False)
    layers = [
        alt.Chart(alt.Data(values=[{"level": 100 * sides.level}]))
        .mark_rule(color=INK, strokeWidth=1.5)
        .encode(x=alt.X("level:Q", scale=scale)),
        alt.Chart(alt.Data(values=rows))
        .mark_point(filled=True, size=80, opacity=1)
        .encode(
            x=alt.X(
                "coverage:Q", title="percent of sides within the interval", scale=scale, axis=alt.Axis(tickCount=5)
            ),
            y=alt.Y("side:N", sort=[*SIDES, "all"], title=None, axis=alt.Axis(grid=True, ticks=False)),
            color=alt.Color("group:N", scale=color_of(groups), sort=groups),
            shape=alt.Shape("group:N", scale=alt.Scale(domain=groups), sort=groups),
        ),
    ]
    said = "; ".join(f"{row['side']}, {row['group']}: {percent(row['coverage'] / 100)}" for row in rows)
    return Chart(name, title, f"Coverage by side and size. {said}.", alt.layer(*layers).properties(height=360))


def _ends(values: np.ndarray, share: float) -> tuple[float, float]:
    """Ends of a logarithmic axis that leave out a share of the values at the lower end, and few at the upper one."""
    low, high = (float(np.quantile(values, one)) for one in (share, 0.997))
    low = max(low, 0.05)
    return low / 1.1, max(1.1 * high, 2 * low)


def _logarithmic(ends: tuple[float, float]) -> alt.Scale:
    return alt.Scale(type="log", domain=list(ends), nice=False)


def _axis(ends: tuple[float, float]) -> alt.Axis:
    """Ticks at 1, 2 and 5 times the powers of 10."""
    values = [one * 10.0**power for power in range(-3, 6) for one in (1, 2, 5)]
    return alt.Axis(values=[one for one in values if ends[0] <= one <= ends[1]], format="~g")


def _points(std: np.ndarray, errors: np.ndarray, usable: np.ndarray) -> list[dict]:
    """At most ``MAX_POINTS`` sides with an error, evenly from all matches."""
    usable = usable & (errors > 0)
    std, errors = std[usable], errors[usable]
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
