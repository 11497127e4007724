"""``gfl-plugin ablate``

Each training runs in a process of its own. An interrupted study goes on where it stopped when the same command is run
again.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path

SUMMARY = "train the variants of a study over several seeds and compare them"
EXAMPLE = "gfl-plugin ablate components --scale demo --seeds 0 1 2"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("study", help="a folder of configs/ablation; an unknown name lists them")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of training (default: 0 1 2)")
    parser.add_argument(
        "--scale", choices=["demo", "bccd", "coco"], default="demo", help="small detector on small data, or COCO"
    )
    parser.add_argument(
        "--jobs", type=int, help="runs at the same time (default: one per GPU; on a CPU one per core, 1 for coco)"
    )
    parser.add_argument("--variants", nargs="+", help="only these variants")
    parser.add_argument(
        "--work-dir", type=Path, help="folder of the study's runs (default: work_dirs/ablation/SCALE/STUDY)"
    )
    parser.add_argument("--out", type=Path, help="folder of table, JSON and plot (default: the work dir)")
    parser.add_argument(
        "--report", action="store_true", help="train nothing and write nothing but the report of what is finished"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the study.

    Args:
        arguments: as :func:`add_arguments` declares them.

    Returns:
        0; 1 where a run failed; 130 after an interrupt.

    Raises:
        ValueError: for a wrong argument or a folder that cannot be used.
        OSError: for missing data, or a full disk.
    """
    if arguments.jobs is not None and arguments.jobs < 1:
        raise ValueError(f"--jobs is {arguments.jobs}; it must be at least 1")
    warnings.simplefilter("ignore")  # MMDetection and MMEngine warn of names that they have deprecated themselves

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
        print("\nInterrupted; finished runs are kept. The same command runs the rest.", file=sys.stderr)
        return 130


def _command(arguments: argparse.Namespace) -> str:
    """The command that makes the same results."""
    seeds = " ".join(map(str, arguments.seeds))
    command = f"gfl-plugin ablate {arguments.study} --scale {arguments.scale} --seeds {seeds}"
    if arguments.variants:
        command += f" --variants {' '.join(arguments.variants)}"
    return command + (f" --jobs {arguments.jobs}" if arguments.jobs else "")
