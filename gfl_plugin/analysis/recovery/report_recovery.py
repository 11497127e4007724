"""The report of a study of annotation noise: table, figures as JSON, and plot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from math import isnan
from pathlib import Path

from rich.console import Console

from ...runtime.atomic_files import write_whole
from ..progress import ProgressDisplay
from ..studies.finished_run import FinishedRun
from ..tables import markdown, print_table
from .law_figures import LawFigures
from .recovery_plot import plot_recovery
from .recovery_rows import RecoveryRow, analyse_recovery, recovery_table
from .trained_run import IOU, SCORE, read_run

_NAME = "recovery_laws"
_EXPLANATION = f"""\
The training annotations of each side are displaced by noise of a known law; the validation annotations are the true
boxes. For each detection of a validation image with a score of at least {SCORE} and an IoU of at least {IOU}, the
learned distribution of each side is taken relative to the true side, positive values outside. All values are pixels,
mean ± standard deviation over the seeds.

- **bias, sd, skewness, W1**: medians over detections of the mean, the standard deviation, the skewness and the
  Wasserstein-1 distance to the law. **average**: the same for the average of the distributions of all detections.
- **best W1**: of the law itself in the same representation. A point is the law's median; a normal distribution has the
  law's mean and standard deviation; on bins each value of the law is split between its two neighbouring bins, as DFL
  does (single detections: median over the position of the bins; average: over all positions).
- **two peaks**: share of the distributions on bins that have a valley: at some bin the probability is lower than the
  largest ones on both of its sides by at least a quarter of the distribution's largest probability.
"""


def recovery_files(folder: Path) -> list[Path]:
    """List the files that :func:`report_recovery` writes.

    Args:
        folder: folder of the report.

    Returns:
        The paths of ``recovery_laws.md``, ``.json`` and ``.png``.
    """
    return [folder / f"{_NAME}.{kind}" for kind in ("md", "json", "png")]


def report_recovery(
    runs: Sequence[FinishedRun], console: Console, display: ProgressDisplay, folder: Path, about: dict[str, str]
) -> list[Path]:
    """Compare what the runs have learned with the laws of their annotations; print the table and write the report.

    Args:
        runs: finished runs of one study on the embedded dataset with annotation noise.
        console: for the table.
        display: shows the progress.
        folder: folder of the report; it is created if it does not exist.
        about: origin of the figures: scale, command, machine, date.

    Returns:
        The paths of the files.

    Raises:
        FileNotFoundError: if a checkpoint or the dataset is missing.
        ValueError: if there is no run, or a run does not fit, see :func:`read_run`.
    """
    if not runs:
        raise ValueError("no run is finished, so that there are no learned distributions; train the study first")
    trained = [read_run(run, display) for run in runs]
    rows = analyse_recovery(trained)
    table = recovery_table(rows)
    print_table(console, table, "learned side distributions and the laws of the annotations")
    folder.mkdir(parents=True, exist_ok=True)
    table_file, figures_file, plot_file = files = recovery_files(folder)
    origin = "; ".join(f"{key}: {f'`{value}`' if key == 'command' else value}" for key, value in about.items())
    seeds = ", ".join(map(str, sorted({run.seed for run in runs})))
    write_whole(table_file, f"# {_NAME}\n\n{origin}; seeds: {seeds}.\n\n{_EXPLANATION}\n{markdown(table)}")
    content = {"analysis": _NAME, **about, "rows": list(map(_figures, rows))}
    write_whole(figures_file, json.dumps(content, indent=2) + "\n")
    plot_recovery(trained, plot_file)
    return files


def _figures(row: RecoveryRow) -> dict:
    return {
        "side": row.side,
        "law": row.law,
        "variant": row.variant.name,
        "title": row.variant.title,
        "seeds": row.seeds,
        "learned": list(map(_plain, row.learned)),
        "best": _plain(row.best),
    }


def _plain(figures: LawFigures) -> dict:
    """The figures with null for those that are not defined; JSON has no NaN."""
    return {name: None if isnan(value) else value for name, value in asdict(figures).items()}
