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
    """Print and write what a study has given so far.

    Args:
        console: for the table and the names of the files.
        place: of the study.
        outcome: its results.
        title: of the printed table.
        command: that makes the results.
        folder: of the report.

    Returns:
        The exit status: 1 where a run failed, else 0.

    Raises:
        ValueError: where no run is finished.
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
