"""Tables about scores, sides and two models."""

from __future__ import annotations

from collections.abc import Sequence

from ...tables import Column, Table
from ..report_content import BOTH, NEITHER, Comparison, ModelReport, ScoreQuality, SideFigures, SideQuality
from .summary_tables import CaptionedTable
from .words import NOT_DEFINED, number, percent


def score_table(models: Sequence[ModelReport]) -> CaptionedTable:
    """How well scores tell the quality of boxes, for all models.

    Args:
        models: of the report.

    Returns:
        A row per model.
    """
    headings = ("Correlation, matched", "Correlation, all", "LaECE", "D-ECE", "High-score background", "Detections")
    rows = tuple((model.name, *_score_cells(model.scores, len(headings))) for model in models)
    columns = (Column("Model", numeric=False), *map(Column, headings))
    return CaptionedTable("Scores and the true quality of boxes", Table(columns, rows))


def curve_table(name: str, scores: ScoreQuality) -> CaptionedTable:
    """The curve of the chart.

    Args:
        name: of the model.
        scores: its figures.

    Returns:
        A row per bin of scores.
    """
    columns = [Column(one) for one in ("Mean score", "Mean IoU", "Share with IoU of at least 0.5", "Detections")]
    rows = [
        (number(score, 2), number(iou, 2), percent(precision), f"{count:,}")
        for score, iou, precision, count in scores.curve
    ]
    return CaptionedTable(f"{name}: quality of boxes by score", Table(tuple(columns), tuple(rows)))


def side_tables(name: str, sides: SideQuality) -> tuple[CaptionedTable, CaptionedTable]:
    """How well standard deviations tell the errors of sides.

    Args:
        name: of the model.
        sides: its figures.

    Returns:
        A table of the sides of all objects, and one by size of the object.
    """
    caption = f"{name}: uncertainty of sides; coverage should be {percent(sides.level, 0)}"
    return (
        CaptionedTable(caption, _side_rows([one for one in sides.figures if one.group == "all"])),
        CaptionedTable(f"{caption}; by size", _side_rows([one for one in sides.figures if one.group != "all"])),
    )


def _side_rows(figures: Sequence[SideFigures]) -> Table:
    """A row per side and size."""
    headings = ("Matches", "Correlation", "Mean σ", "RMS error", "Coverage", "Mean margin")
    columns = (Column("Side", numeric=False), Column("Size", numeric=False), *map(Column, headings))
    rows = [
        (
            one.side.capitalize(),
            one.group,
            f"{one.matches:,}",
            number(one.spearman, 2),
            number(one.mean_std, 1, " px"),
            number(one.rms_error, 1, " px"),
            percent(one.coverage),
            number(one.mean_margin, 1, " px"),
        )
        for one in figures
    ]
    return Table(columns, tuple(rows))


def found_table(comparison: Comparison) -> CaptionedTable:
    """How many objects both, one, or none of two models found.

    Args:
        comparison: of the models.

    Returns:
        A row per case.
    """
    names = {BOTH: "Both models", **{name: f"Only {name}" for name in comparison.models}, NEITHER: "Neither model"}
    rows = [(text, f"{comparison.found.get(key, 0):,}") for key, text in names.items()]
    columns = (Column("Found by", numeric=False), Column("Objects"))
    return CaptionedTable("Objects found at an IoU of 0.5", Table(columns, tuple(rows)))


def _score_cells(scores: ScoreQuality | None, count: int) -> tuple[str, ...]:
    """Cells of a model, dashes without detections."""
    if scores is None:
        return (NOT_DEFINED,) * count
    return (
        number(scores.spearman, 2),
        number(scores.spearman_all, 2),
        number(scores.la_ece, 3),
        number(scores.d_ece, 3),
        percent(scores.background_share),
        f"{len(scores.scores):,}",
    )
