"""Prints the table of a study and writes its report."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

from rich.console import Console

from ..machine import this_machine
from ..tables import print_table
from .comparison import compare, comparison_table
from .report_files import write_report
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
    rows = compare(place.study, outcome.runs, outcome.results)
    print_table(console, comparison_table(place.study, rows), title)
    about = {
        "scale": place.scale_name,
        "command": command,
        "machine": str(this_machine()),
        "date": datetime.now(timezone.utc).date().isoformat(),
    }
    for path in write_report(place.study, rows, about, folder):
        console.print(f"wrote {path}", markup=False, soft_wrap=True)
    return 1 if outcome.failed else 0
