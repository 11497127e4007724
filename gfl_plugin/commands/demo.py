"""``gfl-plugin demo``

Both are trained with the same settings, one after the other. Finished trainings are kept: if the same command is run
again, it only reports.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path

SUMMARY = "train GFL and the ATSS baseline on the embedded dataset, compare them, and write a page that looks into both"
EXAMPLE = "gfl-plugin demo --work-dir work_dirs/demo"

_PICTURES = 4  # validation images in the picture
_LEVEL = 0.9  # of the intervals in the report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command.

    Args:
        parser: parser of the command.
    """
    parser.add_argument(
        "--work-dir", "--out", type=Path, default=Path("work_dirs/demo"), help="folder for data, runs and results"
    )
    parser.add_argument("--epochs", type=int, default=10, help="training epochs per model (default: 10)")
    parser.add_argument(
        "--images",
        type=int,
        default=600,
        help="number of training images; a quarter of it for validation (default: 600)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the data and of each training (default: 0)")
    parser.add_argument(
        "--jobs", type=int, default=1, help="number of parallel trainings, which share the cores (default: 1)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the demo.

    Args:
        arguments: parsed arguments, see :func:`add_arguments`.

    Returns:
        0; 1 if a training failed; 130 after an interrupt.

    Raises:
        ValueError: if an argument is wrong or a folder cannot be used.
        OSError: if the disk is full, or a folder contains other data.
        ImportError: if a package of the extra ``[demo]`` is missing.
    """
    for name in ("epochs", "images", "jobs"):
        if getattr(arguments, name) < 1:
            raise ValueError(f"--{name} is {getattr(arguments, name)}; it must be at least 1")
    warnings.simplefilter("ignore")  # deprecated names that MMDetection and MMEngine use themselves

    from mmengine.config import Config
    from mmengine.logging import MMLogger

    from ..analysis.detection_picture import side_by_side
    from ..analysis.progress import output_console, progress_display
    from ..analysis.report.detector_source import DetectorSubject
    from ..analysis.report.report_content import PAGE
    from ..analysis.report.write_report import Request, write_report
    from ..analysis.studies.demo_study import demo_scale, demo_study
    from ..analysis.studies.report_study import finished_runs, report_study
    from ..analysis.studies.run_study import StudyPlace, run_study
    from ..analysis.studies.train_run import DETECTIONS
    from ..runtime.config_files import config_folder

    MMLogger.get_current_instance().setLevel("WARNING")
    console, configs, started = output_console(), config_folder(), time.monotonic()
    place = StudyPlace(
        study=demo_study(configs),
        scale=demo_scale(arguments.images, arguments.epochs, arguments.seed),
        scale_name="demo",
        seeds=(arguments.seed,),
        work_dir=arguments.work_dir,
        data_root=arguments.work_dir,
        configs=configs,
    )
    try:
        with progress_display(console) as display:
            outcome = run_study(place, arguments.jobs, display)
    except KeyboardInterrupt:
        print("\nInterrupted. Finished trainings are kept; the same command runs the others.", file=sys.stderr)
        return 130
    title = f"{arguments.images} images, {arguments.epochs} epochs, {time.monotonic() - started:.0f} s"
    command = f"gfl-plugin demo --epochs {arguments.epochs} --images {arguments.images} --seed {arguments.seed}"
    code = report_study(console, place, outcome, title, command, arguments.work_dir)
    data = place.scale.data.locate(arguments.work_dir)
    detections = {run.variant.title: run.folder / DETECTIONS for run in outcome.runs if run.name in outcome.results}
    picture = arguments.work_dir / "detections.png"
    side_by_side(data / "val.json", data / "val", detections, _PICTURES).save(picture)
    console.print(f"wrote {picture}: ground truth and detections", markup=False, soft_wrap=True)
    subjects = tuple(
        DetectorSubject(run.variant.title, str(run.config), Config.fromfile(run.config), run.checkpoint, "val")
        for run in finished_runs(outcome)
    )
    if subjects:
        page = arguments.work_dir / "report"
        page.mkdir(exist_ok=True)
        with progress_display(console) as display:
            write_report(Request(subjects, _LEVEL, command), page, display)
        console.print(
            f"wrote {page / PAGE}: open it in a browser to look into both models", markup=False, soft_wrap=True
        )
    return code
