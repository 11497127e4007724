"""``gfl-plugin ablate``

Each training runs in a separate process. After an interruption, the same command continues the study.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
import warnings
from pathlib import Path

SUMMARY = "train the variants of a study with several seeds and compare them"
EXAMPLE = "gfl-plugin ablate components --scale demo --lr 8e-3 --seeds 0 1 2"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command.

    Args:
        parser: parser of the command.
    """
    parser.add_argument("study", help="a folder of configs/ablation; the error for an unknown name lists them")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of training (default: 0 1 2)")
    parser.add_argument(
        "--lr",
        type=float,
        nargs="+",
        metavar="RATE",
        help="train each variant with each of these learning rates and the smallest seed, then with the other seeds "
        "and its rate of the highest validation AP (default: the rate of the config)",
    )
    parser.add_argument(
        "--scale",
        choices=[
            "demo",
            "bccd",
            "demo_sgd",
            "demo_long",
            "bccd_long",
            "bccd_short",
            "demo_short",
            "one_class",
            "demo_tiny",
            "demo_large",
            "demo_noise",
            "demo_noise_long",
            "coco",
        ],
        default="demo",
        help="small detector on small data (demo, bccd: AdamW, to compare heads whose learning rates are tuned with "
        "--lr; bccd_short, demo_short: fewer epochs of AdamW; demo_sgd, demo_long, bccd_long: SGD; one_class: few "
        "images with one class of large digits; demo_tiny, demo_large: tiny digits, large digits on a single level; "
        "demo_noise: annotations with noise of known laws, on a single level), or COCO",
    )
    parser.add_argument(
        "--jobs", type=int, help="number of parallel runs (default: one per GPU; on a CPU one per core, 1 for coco)"
    )
    parser.add_argument("--variants", nargs="+", help="train only these variants")
    parser.add_argument("--work-dir", type=Path, help="folder for the runs (default: work_dirs/ablation/SCALE/STUDY)")
    parser.add_argument("--out", type=Path, help="folder for table, JSON and plot (default: --work-dir)")
    parser.add_argument(
        "--report", action="store_true", help="do not train; only write the report of the finished runs"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the study.

    Args:
        arguments: parsed arguments, see :func:`add_arguments`.

    Returns:
        0; 1 if a run failed; 130 after an interrupt.

    Raises:
        ValueError: if an argument is wrong or a folder cannot be used.
        OSError: if data is missing or the disk is full.
    """
    if arguments.jobs is not None and arguments.jobs < 1:
        raise ValueError(f"--jobs is {arguments.jobs}; it must be at least 1")
    if not all(0 < rate < math.inf for rate in arguments.lr or ()):
        raise ValueError(f"--lr is {' '.join(map(str, arguments.lr))}; learning rates must be positive")
    warnings.simplefilter("ignore")  # deprecated names that MMDetection and MMEngine use themselves

    import torch
    from mmengine.logging import MMLogger

    from ..analysis.progress import output_console, progress_display
    from ..analysis.studies.report_study import report_study
    from ..analysis.studies.run_study import StudyPlace, read_study, run_study
    from ..analysis.studies.scale import SCALES
    from ..analysis.studies.study import find_study, select_variants
    from ..runtime.config_files import config_folder

    MMLogger.get_current_instance().setLevel("WARNING")
    console, configs, started = output_console(), config_folder(), time.monotonic()
    study = select_variants(find_study(configs / "ablation", arguments.study), arguments.variants)
    work_dir = arguments.work_dir or Path("work_dirs") / "ablation" / arguments.scale / study.name
    place = StudyPlace(
        study=study,
        scale=SCALES[arguments.scale],
        scale_name=arguments.scale,
        seeds=tuple(arguments.seeds),
        work_dir=work_dir,
        data_root=work_dir.parent,
        configs=configs,
        rates=tuple(arguments.lr or ()),
    )
    jobs = arguments.jobs
    if jobs is None and arguments.scale == "coco" and not torch.cuda.is_available():
        jobs = 1
    try:
        if arguments.report:
            outcome = read_study(place)
        else:
            with progress_display(console) as display:
                outcome = run_study(place, jobs, display)
        seconds = time.monotonic() - started
        title = f"{study.name}, {arguments.scale}, {seconds:.0f} s"
        return report_study(console, place, outcome, title, _command(arguments), arguments.out or work_dir)
    except KeyboardInterrupt:
        print("\nInterrupted. Finished runs are kept; the same command trains the other runs.", file=sys.stderr)
        return 130


def _command(arguments: argparse.Namespace) -> str:
    """The command that reproduces the results."""
    seeds = " ".join(map(str, arguments.seeds))
    command = f"gfl-plugin ablate {arguments.study} --scale {arguments.scale} --seeds {seeds}"
    if arguments.lr:
        command += f" --lr {' '.join(map(str, arguments.lr))}"
    if arguments.variants:
        command += f" --variants {' '.join(arguments.variants)}"
    return command + (f" --jobs {arguments.jobs}" if arguments.jobs else "")
