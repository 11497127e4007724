"""The report of a study of wrong labels: a table and the figures as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from ...runtime.atomic_files import write_whole
from ..tables import Column, Table, markdown, print_table
from .label_figures import TOP, EdgeFigures, LabelFigures, RankingFigures
from .run_label_study import NAME, LabelStudy

_EXPLANATION = """\
One side of {share:.0%} of the annotations of BCCD's training images was moved by {low:.0%} to {high:.0%} of the box's
width or height, outward or inward at random. The images were divided into {folds} folds; a detector that was trained
with the others judged each fold. It saw the wrong labels of those others as if they were right. Annotations are ranked
by suspicion, the distance of label and prediction in calibrated margins, or by 1 − IoU of the same label and detection;
those without a detection come last. AUROC is the probability that a wrong label comes before a right one. BCCD's own
annotations count as right, though some are not. Errors are distances of the predicted side from the original one.
"""


def report_label_study(
    study: LabelStudy, figures: LabelFigures, console: Console, folder: Path, about: dict[str, str]
) -> list[Path]:
    """Print the tables, and write the report.

    Args:
        study: settings of the study.
        figures: its result.
        console: for the tables.
        folder: of the report; it is created if it does not exist.
        about: origin of the figures: scale, command, machine, date.

    Returns:
        The paths of ``label_study.md`` and ``label_study.json``.
    """
    tables = {"ranking of all annotations": ranking_table(figures), "the named side": edge_table(figures)}
    for title, table in tables.items():
        print_table(console, table, title)
    low, high = figures.difference
    summary = (
        f"{figures.annotations} annotations, {figures.wrong} of them wrong; a detection has found {figures.found} of "
        f"these. {figures.listed} annotations are outside their margins at a level of {study.level:g}, "
        f"{figures.edges_listed.count} of them wrong. Difference of AUROC: {low:+.3f} to {high:+.3f} (95 %, resampled "
        "images)."
    )
    console.print(summary, markup=False, soft_wrap=True)
    origin = "; ".join(f"{key}: {f'`{value}`' if key == 'command' else value}" for key, value in about.items())
    explanation = _EXPLANATION.format(**asdict(study.law), folds=study.folds)
    parts = [
        f"# {NAME}",
        f"{origin}; seed: {study.seed}.",
        explanation.strip(),
        summary,
        *map(markdown, tables.values()),
    ]
    folder.mkdir(parents=True, exist_ok=True)
    text, values = folder / f"{NAME}.md", folder / f"{NAME}.json"
    write_whole(text, "\n\n".join(part.strip() for part in parts) + "\n")
    content = {"analysis": NAME, **about, "folds": study.folds, "seed": study.seed, "level": study.level}
    write_whole(values, json.dumps({**content, **asdict(figures)}, indent=2) + "\n")
    return [text, values]


def ranking_table(figures: LabelFigures) -> Table:
    """AUROC and precision of both rankings.

    Args:
        figures: of the study.

    Returns:
        One row per ranking.
    """
    columns = (Column("ranked by", numeric=False), Column("AUROC"), Column(f"precision at {TOP}"))
    rows = (_ranking_row("suspicion", figures.suspicion), _ranking_row("1 − IoU", figures.iou))
    return Table(columns, rows)


def edge_table(figures: LabelFigures) -> Table:
    """What is said about the sides of wrong labels.

    Args:
        figures: of the study.

    Returns:
        One row per group of wrong labels.
    """
    headings = ("labels", "the shifted side is named", "median error, px", "mean error, px")
    rows = (_edge_row("found by a detection", figures.edges_found), _edge_row("suspect", figures.edges_listed))
    return Table((Column("wrong labels", numeric=False), *map(Column, headings)), rows)


def _ranking_row(name: str, figures: RankingFigures) -> tuple[str, ...]:
    return name, f"{figures.auroc:.3f}", f"{figures.precision:.2f}"


def _edge_row(name: str, figures: EdgeFigures) -> tuple[str, ...]:
    errors = (f"{figures.median_error:.1f}", f"{figures.mean_error:.1f}")
    return name, str(figures.count), f"{100 * figures.named:.1f} %", *errors
