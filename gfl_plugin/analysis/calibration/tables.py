"""Tables of a calibration: the margins, and coverage and width on other images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...structures.calibration import CONSTANT, SIDE, SIZE, STD
from ..tables import Column, Table
from .coverage import Coverage
from .fit import GroupMargins

UNIT_TITLES = {STD: "predicted σ", SIZE: "width or height", CONSTANT: "pixels (σ = 1)"}


def margins_table(margins: Sequence[GroupMargins]) -> Table:
    """Margins of each group.

    Args:
        margins: of all detections, and of the groups.

    Returns:
        One row per group.
    """
    headings = ("matches", "images", "left", "top", "right", "bottom")
    columns = (Column("detections", numeric=False), *map(Column, headings))
    return Table(columns, tuple(map(_margins_row, margins)))


def _margins_row(one: GroupMargins) -> tuple[str, ...]:
    numbers = ("too few: as all",) * 4 if one.quantiles is None else tuple(f"{q:.3f}" for q in one.quantiles)
    return (one.name, str(one.matches), str(one.images), *numbers)


def coverage_table(coverage: Mapping[str, Sequence[Coverage]], statement: str) -> Table:
    """Coverage and width of margins in each unit.

    Args:
        coverage: of all matches and of the groups, by unit.
        statement: BOX or SIDE.

    Returns:
        One row per unit and group.
    """
    columns = (
        Column("margins in", numeric=False),
        Column("detections", numeric=False),
        Column("matches"),
        Column("images"),
        Column("covered sides" if statement == SIDE else "covered boxes"),
        Column("95 % interval"),
        Column("mean of images"),
        Column("mean margin, px"),
    )
    rows = [(UNIT_TITLES[unit], *_coverage_row(one)) for unit, groups in coverage.items() for one in groups]
    return Table(columns, tuple(rows))


def _coverage_row(one: Coverage) -> tuple[str, ...]:
    low, high = one.confidence_interval()
    return (
        one.group,
        str(one.matches),
        str(one.images),
        f"{100 * one.share:.1f} %",
        f"{100 * low:.1f} to {100 * high:.1f} %",
        f"{100 * one.per_image:.1f} %",
        f"{one.margin:.2f}",
    )
