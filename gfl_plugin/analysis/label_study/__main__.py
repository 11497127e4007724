"""Finds labels of BCCD that were made wrong on purpose, with detectors that did not see their images.

``python -m gfl_plugin.analysis.label_study --out docs/results/bccd`` moves one side of 5 % of the annotations of BCCD's
training images, divides the images into folds, trains one detector per fold with the images of the others, and lets
it judge the annotations of its own fold. After an interruption, the same command continues. GFL_DATA is the folder that
contains BCCD.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import warnings
from datetime import datetime, timezone
from pathlib import Path

from mmengine.logging import MMLogger
from rich.console import Console

from ...runtime.config_files import config_folder
from ..machine import this_machine
from ..progress import output_console, progress_display
from ..studies.scale import SCALES
from .fold_runs import SCALE
from .report_label_study import report_label_study
from .run_label_study import LabelStudy, run_label_study


def main(words: list[str] | None = None) -> int:
    """Run the study and write its report.

    Args:
        words: arguments of the command; those of the process if not given.

    Returns:
        0; 1 if a training failed; 2 for an error that the user can correct.
    """
    words = sys.argv[1:] if words is None else words
    arguments = _parser().parse_args(words)
    warnings.simplefilter("ignore")  # deprecated names that MMDetection and MMEngine use themselves
    MMLogger.get_current_instance().setLevel("WARNING")
    console = output_console()
    try:
        return _run(arguments, console, shlex.join(["python", "-m", "gfl_plugin.analysis.label_study", *words]))
    except (OSError, ValueError) as error:
        print(f"label_study: {error}", file=sys.stderr)
        return 2


def _run(arguments: argparse.Namespace, console: Console, command: str) -> int:
    study = LabelStudy(arguments.folds, arguments.seed, arguments.level, arguments.work_dir.resolve(), config_folder())
    data = SCALES[SCALE].data.locate(study.work_dir)
    with progress_display(console) as display:
        outcome = run_label_study(study, data, arguments.jobs, display)
    if outcome is None:
        return 1
    about = {
        "scale": SCALE,
        "command": command,
        "machine": str(this_machine()),
        "date": datetime.now(timezone.utc).date().isoformat(),
    }
    for path in report_label_study(study, outcome, console, arguments.out or study.work_dir, about):
        console.print(f"wrote {path}", markup=False, soft_wrap=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m gfl_plugin.analysis.label_study", description=__doc__)
    parser.add_argument("--folds", type=int, default=5, help="number of folds and trainings (default: 5)")
    parser.add_argument("--seed", type=int, default=0, help="of shifts, folds and training (default: 0)")
    parser.add_argument("--level", type=float, default=0.9, help="of the margins (default: 0.9)")
    parser.add_argument("--jobs", type=int, default=1, help="number of parallel trainings (default: 1)")
    parser.add_argument("--work-dir", type=Path, default=Path("work_dirs/label_study"), help="folder of the runs")
    parser.add_argument("--out", type=Path, help="folder for table and JSON (default: --work-dir)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
