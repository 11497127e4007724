"""Tables of the summary: AP, error costs, classes, models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...tables import Column, Table
from ..examined_image import Examination
from ..report_content import ERROR_KINDS, ModelReport
from .words import KINDS, NOT_DEFINED, number


@dataclass(frozen=True)
class CaptionedTable:
    """A table of the page; its first column names the rows."""

    caption: str
    table: Table


def accuracy_table(models: Sequence[ModelReport]) -> CaptionedTable:
    """AP and the like of all models, with those of a perfect ranking.

    Args:
        models: of the report.

    Returns:
        Two rows per model.
    """
    names = list(dict.fromkeys(name for model in models for name in model.accuracy.metrics))
    rows = []
    for model in models:
        own, perfect = model.accuracy.metrics, model.accuracy.perfect_ranking
        rows.append((model.name, *(number(own.get(name)) for name in names)))
        rows.append((f"{model.name}, perfect ranking", *(number(perfect.get(name)) for name in names)))
    caption = "Average precision and recall in percent; the same boxes with a perfect ranking"
    return _table(caption, ["Model", *names], rows)


def error_table(models: Sequence[ModelReport]) -> CaptionedTable:
    """What the errors of all models cost.

    Args:
        models: of the report.

    Returns:
        A row per kind of error.
    """
    costs = [{error.kind: error for error in model.accuracy.errors} for model in models]
    rows = []
    for kind in ERROR_KINDS:
        cells = []
        for own in costs:
            one = own.get(kind)
            cells += (
                [NOT_DEFINED] * 3 if one is None else [number(one.ap50_gain, 2), f"{one.shown:,}", f"{one.count:,}"]
            )
        rows.append((KINDS[kind][0].capitalize(), KINDS[kind][1], *cells))
    parts = ("points of AP50", "shown", "all")
    headings = [f"{model.name}: {part}" for model in models for part in parts]
    columns = (Column("Error", numeric=False), Column("Meaning", numeric=False), *map(Column, headings))
    return CaptionedTable("Errors and what each kind costs in points of AP50", Table(columns, tuple(rows)))


def class_table(models: Sequence[ModelReport]) -> CaptionedTable:
    """AP of the classes of all models.

    Args:
        models: of the report.

    Returns:
        A row per class.
    """
    names = list(dict.fromkeys(name for model in models for name in model.accuracy.per_class))
    rows = [(name, *(number(model.accuracy.per_class.get(name)) for model in models)) for name in names]
    return _table("AP of each class in percent", ["Class", *(model.name for model in models)], rows)


def model_table(examinations: Sequence[Examination]) -> CaptionedTable:
    """Where the models come from.

    Args:
        examinations: one per model.

    Returns:
        A row per model.
    """
    rows = [(one.name, one.head, one.config, one.checkpoint, f"{len(one.images):,}") for one in examinations]
    columns = [Column(name, numeric=False) for name in ("Model", "Head", "Config", "Checkpoint")]
    return CaptionedTable("Examined models", Table((*columns, Column("Images")), tuple(rows)))


def _table(caption: str, headings: Sequence[str], rows: Sequence[tuple[str, ...]]) -> CaptionedTable:
    """A table whose first column is text and whose others are numbers."""
    columns = (Column(headings[0], numeric=False), *map(Column, headings[1:]))
    return CaptionedTable(caption, Table(columns, tuple(rows)))
