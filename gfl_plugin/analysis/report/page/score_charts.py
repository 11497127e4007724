"""Chart of the score against the true IoU."""

from __future__ import annotations

import altair as alt
import numpy as np

from ..report_content import ScoreQuality
from .chart import COLORS, INK, MUTED, Chart

CELLS = 25  # per axis
SPARSE = 4  # cells with fewer detections show them as points
MAX_POINTS = 800
_AXIS = alt.Axis(values=[0, 0.2, 0.4, 0.6, 0.8, 1], format=".1f")


def score_chart(name: str, title: str, scores: ScoreQuality, color: int) -> Chart:
    """Draw density, single detections where they are few, and the binned curve.

    Args:
        name: of the file.
        title: of the chart.
        scores: with at least one detection.
        color: number of the model.

    Returns:
        The chart.
    """
    own = COLORS[color % len(COLORS)]
    cells, points = _density(scores.scores, scores.iou)
    curve = [{"score": score, "iou": iou, "count": count} for score, iou, _, count in scores.curve]
    x = alt.X("score:Q", title="score", scale=alt.Scale(domain=[0, 1]), axis=_AXIS)
    y = alt.Y("iou:Q", title="IoU with the best object", scale=alt.Scale(domain=[0, 1]), axis=_AXIS)
    layers = [
        alt.Chart(alt.Data(values=cells))
        .mark_rect(color=own)
        .encode(
            x=x,
            x2="right:Q",
            y=y,
            y2="top:Q",
            opacity=alt.Opacity("count:Q", scale=alt.Scale(type="log", range=[0.15, 0.9]), legend=None),
        ),
        alt.Chart(alt.Data(values=points)).mark_point(filled=True, size=9, opacity=0.55, color=own).encode(x=x, y=y),
        alt.Chart(alt.Data(values=[{"score": 0, "iou": 0}, {"score": 1, "iou": 1}]))
        .mark_line(color=MUTED, strokeDash=[5, 4], strokeWidth=1.5)
        .encode(x=x, y=y),
        alt.Chart(alt.Data(values=curve)).mark_line(color=INK, strokeWidth=2).encode(x=x, y=y),
        alt.Chart(alt.Data(values=curve)).mark_point(color=INK, filled=True, size=40, opacity=1).encode(x=x, y=y),
    ]
    said = "; ".join(f"score {row['score']:.2f}, mean IoU {row['iou']:.2f}" for row in curve)
    return Chart(
        name,
        title,
        f"{len(scores.scores)} detections by score and IoU. Cells of a stronger color hold more of them. "
        f"Mean IoU by score: {said}.",
        alt.layer(*layers).properties(height=360),
    )


def _density(scores: np.ndarray, iou: np.ndarray) -> tuple[list[dict], list[dict]]:
    """Cells with their counts, and the detections of sparse cells."""
    column, row = (np.clip((np.asarray(one) * CELLS).astype(int), 0, CELLS - 1) for one in (scores, iou))
    counts = np.bincount(column * CELLS + row, minlength=CELLS * CELLS)
    cells = [
        {
            "score": round(index // CELLS / CELLS, 4),
            "right": round((index // CELLS + 1) / CELLS, 4),
            "iou": round(index % CELLS / CELLS, 4),
            "top": round((index % CELLS + 1) / CELLS, 4),
            "count": int(counts[index]),
        }
        for index in np.flatnonzero(counts >= SPARSE)
    ]
    alone = np.flatnonzero(counts[column * CELLS + row] < SPARSE)
    alone = alone[:: max(1, -(-len(alone) // MAX_POINTS))]
    points = [{"score": round(float(scores[one]), 3), "iou": round(float(iou[one]), 3)} for one in alone]
    return cells, points
