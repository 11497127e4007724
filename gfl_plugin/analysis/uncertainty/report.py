"""The report of the study of uncertainty: Markdown tables, JSON, and a plot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from mmengine.config import Config
from rich.console import Console

from ...runtime.atomic_files import write_whole
from ...structures.calibration import BOX, SIDE, STATEMENTS
from ..calibration.conformal import PER, PER_MATCH
from ..calibration.fit import Request
from ..progress import ProgressDisplay
from ..studies.finished_run import FinishedRun
from ..tables import Column, Table, markdown, print_table
from .divisions import DIVISIONS, DivisionCoverage, division_coverage
from .figures import LEVELS, SpreadFigures, spread_figures, spread_text
from .plots import plot_uncertainty
from .run_sides import RunSides, run_sides

_NAME = "box_uncertainty_intervals"
_TITLES = {BOX: "All four sides within the margins", SIDE: "Each side within its margin"}


def report_uncertainty(
    runs: Sequence[FinishedRun], console: Console, display: ProgressDisplay, folder: Path, about: dict[str, str]
) -> list[Path]:
    """Compare spreads of box sides of trained detectors, print the tables, and write the report.

    Args:
        runs: trained detectors; all have the same data.
        console: console for the tables.
        display: shows the progress.
        folder: folder of the files.
        about: origin of the figures: scale, command, machine, date.

    Returns:
        The paths of ``box_uncertainty_intervals.md``, ``.json`` and ``.png``.
    """
    with display.task("predicting", total=2 * len(runs)) as task:
        sides: list[RunSides] = []
        for run in runs:
            task.update(f"{run.variant.name}, seed {run.seed}")
            sides.append(run_sides(run, display))
            task.update(completed=len(sides))
        done = iter(range(len(runs) + 1, 2 * len(runs) + 1))
        task.update("intervals")
        figures = spread_figures(sides, _classes(runs[0]), lambda: task.update(completed=next(done)))
    divisions = [
        (run, division_coverage(run.held_out, run.calibration_images, _REQUESTS, _classes(run.run)))
        for run in sides
        if run.bins is not None
    ]
    tables = {
        "Correlation": correlation_table(figures),
        **{_TITLES[one]: width_table(figures, one) for one in _TITLES},
        f"Coverage over {DIVISIONS} random divisions of the held-out images": division_table(divisions),
    }
    for title, table in tables.items():
        print_table(console, table, title)
    text = "; ".join(f"{key}: {f'`{value}`' if key == 'command' else value}" for key, value in about.items())
    parts = [f"# {_NAME}\n\n{text}.\n", *(f"## {title}\n\n{markdown(table)}" for title, table in tables.items())]
    paths = [folder / f"{_NAME}.{kind}" for kind in ("md", "json", "png")]
    write_whole(paths[0], "\n".join(parts))
    content = {
        "rows": [asdict(one) for one in figures],
        "divisions": [
            {"variant": run.run.variant.name, "seed": run.run.seed, **asdict(one)}
            for run, own in divisions
            for one in own
        ],
    }
    write_whole(paths[1], json.dumps({**about, **content}, indent=2) + "\n")
    plot_uncertainty(sides, paths[2])
    return paths


def correlation_table(figures: Sequence[SpreadFigures]) -> Table:
    """Spearman's correlation of spread and |error|.

    Args:
        figures: of the variants and candidates.

    Returns:
        One row per entry; a correlation is empty where a variant has none.
    """
    names = list(dict.fromkeys(name for one in figures for name in one.correlations))
    names = [name for name in names if name != "all"] + ["all"]
    rows = []
    for one in figures:
        values = {name: own for name, own in one.correlations.items() if not np.isnan(own).any()}
        rows.append((one.variant, one.spread, *(spread_text(values[n], 2) if n in values else "" for n in names)))
    return Table((*_FIRST, *map(Column, names)), tuple(rows))


def width_table(figures: Sequence[SpreadFigures], statement: str) -> Table:
    """Coverage and mean margin at each level, and the margin against a constant one at exactly the same coverage.

    Args:
        figures: of the variants and candidates.
        statement: BOX or SIDE.

    Returns:
        One row per entry.
    """
    columns, rows = list(_FIRST), []
    for level in LEVELS:
        percent = f"{100 * level:g} %"
        columns += [Column(f"{percent}: covered"), Column("margin, px"), Column("narrower than constant")]
    for one in figures:
        cells = [one.variant, one.spread]
        for level in LEVELS:
            widths = one.widths[statement][level]
            cells.append(spread_text([width.coverage for width in widths], 1, 100) + " %")
            cells.append(spread_text([width.margin for width in widths], 2))
            cells.append(spread_text(one.narrower[statement][level], 1, 100) + " %")
        rows.append(tuple(cells))
    return Table(tuple(columns), tuple(rows))


def division_table(divisions: Sequence[tuple[RunSides, Sequence[DivisionCoverage]]]) -> Table:
    """Coverage over random divisions, for margins in units of the predicted standard deviation.

    Args:
        divisions: runs with their coverages.

    Returns:
        One row per run and request.
    """
    columns = (
        Column("sides", numeric=False),
        *(Column(name) for name in ("seed", "level", "statement", "exchangeable")),
        *(Column(name) for name in ("covered matches", "± over divisions", "covered in an image")),
    )
    rows = [
        (run.run.variant.title, str(run.run.seed), f"{100 * one.request.level:g} %", one.request.statement)
        + (f"{one.request.per}es" if one.request.per == PER_MATCH else f"{one.request.per}s",)
        + (f"{100 * one.mean:.1f} %", f"{100 * one.deviation:.1f}", f"{100 * one.per_image:.1f} %")
        for run, coverages in divisions
        for one in coverages
    ]
    return Table(columns, tuple(rows))


_REQUESTS = [Request(level, statement, per=per) for statement in STATEMENTS for per in PER for level in LEVELS]
_FIRST = (Column("sides", numeric=False), Column("margins proportional to", numeric=False))


def _classes(run: FinishedRun) -> tuple[str, ...]:
    return tuple(Config.fromfile(run.config).val_dataloader.dataset.metainfo.classes)
