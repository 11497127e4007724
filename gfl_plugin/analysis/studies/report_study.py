"""Prints the table of a study and writes its report."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

from rich.console import Console

from ..machine import this_machine
from ..progress import progress_display
from ..tables import print_table
from .analyses import ANALYSES
from .comparison import compare, compares_test_splits, comparison_table
from .finished_run import FinishedRun
from .report_files import write_report
from .results import files_of
from .run_queue import output_file
from .run_study import StudyOutcome, StudyPlace


def report_study(
    console: Console, place: StudyPlace, outcome: StudyOutcome, title: str, command: str, folder: Path
) -> int:
    """Print and write the results of a study.

    Args:
        console: console for the table and the names of the files.
        place: the study and its folders.
        outcome: results of the study.
        title: title of the printed table.
        command: command that reproduces the results.
        folder: folder of the report.

    Returns:
        The exit status: 1 if a run failed, else 0.

    Raises:
        ValueError: if no run is finished.
    """
    for run in outcome.failed:
        console.print(f"failed: {run.name}; its output: {output_file(run)}", markup=False, soft_wrap=True)
    rows = compare(place.study, outcome.runs, outcome.results, outcome.choices)
    print_table(console, comparison_table(place.study, rows), title)
    about = {
        "scale": place.scale_name,
        "split": "test" if compares_test_splits(outcome.results.values()) else "val",
        "command": command,
        "machine": str(this_machine()),
        "date": datetime.now(timezone.utc).date().isoformat(),
    }
    paths = write_report(place.study, rows, about, folder)
    if place.study.analysis is not None:
        with progress_display(console) as display:
            paths += _analysis(place.study.analysis)(finished_runs(outcome), console, display, folder, about)
    for path in paths:
        console.print(f"wrote {path}", markup=False, soft_wrap=True)
    return 1 if outcome.failed else 0


def _analysis(name: str) -> Callable[..., list[Path]]:
    """The function of an analysis, see ``ANALYSES``."""
    module, _, function = ANALYSES[name].partition(":")
    return getattr(importlib.import_module(module), function)


def finished_runs(outcome: StudyOutcome) -> list[FinishedRun]:
    """The trained detectors of a study.

    Args:
        outcome: results of the study.

    Returns:
        One per finished run, in the order of the runs.

    Raises:
        FileNotFoundError: if the config or the checkpoint of a run has been deleted.
    """
    found = []
    for run in outcome.runs:
        if run.name in outcome.results:
            folder = files_of(run)
            checkpoints = sorted(folder.glob("*.pth"), key=lambda path: path.stat().st_mtime)
            if not checkpoints or not (folder / "config.py").is_file():
                raise FileNotFoundError(
                    f"config.py or the checkpoint of {run.name} is missing in {folder}, and the analysis of the study "
                    "needs it; delete the folder, and the same command trains the run again"
                )
            found.append(FinishedRun(run.variant, run.seed, folder / "config.py", checkpoints[-1]))
    return found
