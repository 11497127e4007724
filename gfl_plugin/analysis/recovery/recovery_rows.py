"""Compares learned side distributions with the laws of the annotations, over the seeds of each variant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from statistics import mean, stdev

import numpy as np

from ...demo.annotation_noise import LAWS
from ..studies.study import Variant
from ..tables import Column, Table
from .best_laws import best_laws
from .law_figures import LawFigures, law_figures
from .point_laws import LAW_POINTS, equally_probable
from .trained_run import TrainedRun

SIDES = ("left", "top", "right", "bottom")


@dataclass(frozen=True)
class RecoveryRow:
    """A side of a variant over its seeds."""

    side: str  # one of SIDES
    law: str  # key of LAWS
    variant: Variant
    seeds: tuple[int, ...]
    learned: tuple[LawFigures, ...]  # one per seed
    best: LawFigures  # the law itself in the variant's representation


def law_points(name: str) -> np.ndarray:
    """A law as equally probable points.

    Args:
        name: key of ``LAWS``.

    Returns:
        (LAW_POINTS,) pixels.
    """
    return LAWS[name].quantile(equally_probable(LAW_POINTS))


def analyse_recovery(trained: Sequence[TrainedRun]) -> list[RecoveryRow]:
    """Compare each side of each variant with its law.

    Args:
        trained: runs of one study on one dataset.

    Returns:
        A row for each side and variant, side by side.

    Raises:
        ValueError: if the runs have learned from annotations with different noise.
    """
    if len({one.noise for one in trained}) != 1:
        raise ValueError("the runs have learned from annotations with different noise; compare runs on one dataset")
    variants = sorted({one.run.variant.name: one.run.variant for one in trained}.values(), key=lambda v: v.order)
    rows = []
    for number, side in enumerate(SIDES):
        name = trained[0].noise[number]
        law = law_points(name)
        for variant in variants:
            own = [one for one in trained if one.run.variant.name == variant.name]
            own.sort(key=lambda one: one.run.seed)
            kind = own[0].representation
            seeds = tuple(one.run.seed for one in own)
            learned = tuple(law_figures(one.sides[number], law, kind) for one in own)
            best = law_figures(best_laws(law, kind), law, kind)
            rows.append(RecoveryRow(side, name, variant, seeds, learned, best))
    return rows


def recovery_table(rows: Sequence[RecoveryRow]) -> Table:
    """Format the rows: figures of single detections, then those of the average distribution.

    Args:
        rows: return value of :func:`analyse_recovery`.

    Returns:
        The table. Before the rows of each side is one with the exact moments of its law.
    """
    headings = (
        *("detections", "bias", "sd", "skewness", "W1", "best W1", "two peaks", "best two peaks"),
        *("average: bias", "sd ", "skewness ", "W1 ", "best W1 "),
    )
    columns = (Column("side and its law", numeric=False), Column("sides as", numeric=False), *map(Column, headings))
    cells = []
    for number, row in enumerate(rows):
        if number == 0 or rows[number - 1].side != row.side:
            cells.append(_law_cells(row))
        cells.append(_cells(row))
    return Table(columns, tuple(cells))


def _law_cells(row: RecoveryRow) -> tuple[str, ...]:
    law = LAWS[row.law]
    moments = ("0.0", f"{law.std:.1f}", f"{law.skewness:.2f}" if law.std else "–", "0.0", "")
    return (f"{row.side}: {row.law}", "the law itself", "", *moments, "", "", *moments)


def _cells(row: RecoveryRow) -> tuple[str, ...]:
    def over_seeds(field: str, digits: int = 1, scale: float = 1.0) -> str:
        return spread([scale * getattr(figures, field) for figures in row.learned], digits)

    best = row.best
    return (
        f"{row.side}: {row.law}",
        row.variant.title,
        f"{mean(figures.count for figures in row.learned):.0f}",
        over_seeds("bias"),
        over_seeds("std"),
        over_seeds("skewness", 2),
        over_seeds("distance"),
        spread([best.distance]),
        over_seeds("two_peaked", 0, 100.0) + _percent(best),
        spread([100 * best.two_peaked], 0) + _percent(best),
        over_seeds("average_bias"),
        over_seeds("average_std"),
        over_seeds("average_skewness", 2),
        over_seeds("average_distance"),
        spread([best.average_distance]),
    )


def _percent(best: LawFigures) -> str:
    return "" if isnan(best.two_peaked) else " %"


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Mean ± standard deviation over seeds.

    Args:
        values: one per seed.
        digits: after the decimal point.

    Returns:
        The text; a dash if a value is not defined.
    """
    if any(map(isnan, values)):
        return "–"
    text = f"{mean(values):.{digits}f}"
    return f"{text} ± {stdev(values):.{digits}f}" if len(values) > 1 else text
