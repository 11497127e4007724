"""``gfl-plugin calibrate``

Detections of labelled images that the detector was not trained on are matched with the
objects (COCO's matching, IoU >= 0.5). The margins, in units of each side's predicted
standard deviation, are the smallest that cover the level of the true boxes, with the
correction of split conformal prediction for the number of images. More examples:
  gfl-plugin calibrate my.py epoch_12.pth --verify test --by class -o calibration.json
  gfl-plugin calibrate my.py epoch_12.pth --statement side --level 0.95 -o sides.json
What is guaranteed, and what is not: docs/intervals.md
"""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "compute margins within which the true boxes lie with a given probability"
EXAMPLE = "gfl-plugin calibrate my_config.py work_dirs/my_config/epoch_12.pth --level 0.9 -o calibration.json"

_SPLITS = ("val", "test", "train")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command.

    Args:
        parser: parser of the command.
    """
    parser.add_argument("config", help="a file or a name of a config")
    parser.add_argument("checkpoint", type=Path, help="its trained weights")
    parser.add_argument("-o", "--out", type=Path, required=True, help="JSON file to write; never overwritten")
    parser.add_argument("--level", type=float, default=0.9, help="probability of coverage (default: 0.9)")
    parser.add_argument(
        "--split",
        choices=_SPLITS,
        default="val",
        help="data loader of the config for calibration (default: val); train is for configs whose detector was "
        "trained on other data",
    )
    parser.add_argument("--verify", choices=_SPLITS, help="data loader to measure coverage and width on, such as test")
    parser.add_argument(
        "--statement",
        choices=("box", "side"),
        default="box",
        help="what is covered: box, all four sides at once (default); side, each side alone",
    )
    parser.add_argument(
        "--unit",
        choices=("std", "size", "constant"),
        default="std",
        help="margins in predicted standard deviations (default), in parts of width and height, or in pixels",
    )
    parser.add_argument(
        "--per",
        choices=("image", "match"),
        default="image",
        help="what is exchangeable: image (default), or match, which takes the objects of an image as independent",
    )
    parser.add_argument(
        "--by", choices=("class", "size"), help="separate margins for each class, or for small, medium and large boxes"
    )
    parser.add_argument(
        "--enough",
        type=int,
        default=50,
        help="matches that a class or size needs for margins of its own; others use those of all (default: 50)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the file, and print margins and coverage.

    Args:
        arguments: parsed arguments, see :func:`add_arguments`.

    Returns:
        0.

    Raises:
        ValueError: if an argument is wrong, or model and data do not fit.
        FileExistsError: if the file exists.
        FileNotFoundError: if its folder, the config or the checkpoint does not exist.
    """
    from ..analysis.calibration.fit import Request

    request = Request(
        level=arguments.level,
        statement=arguments.statement,
        unit=arguments.unit,
        per=arguments.per,
        group_by=arguments.by,
        enough=arguments.enough,
    )
    if arguments.split == arguments.verify:
        raise ValueError(
            f"--verify is {arguments.verify}, the images of the calibration itself; their coverage says nothing about "
            "new images: name another data loader"
        )
    if arguments.out.exists():
        raise FileExistsError(f"{arguments.out} exists and is never overwritten; move it, or name another file")
    if not arguments.out.parent.is_dir():
        raise FileNotFoundError(f"folder not found: {arguments.out.parent}; create it first")

    from mmengine.config import Config
    from mmengine.logging import MMLogger

    from ..analysis.calibration.calibrate import calibrate
    from ..analysis.calibration.tables import UNIT_TITLES, coverage_table, margins_table
    from ..analysis.progress import output_console, progress_display
    from ..analysis.tables import print_table
    from ..heads.box_intervals import OPTION, calibration_text
    from ..runtime.atomic_files import write_whole
    from ..runtime.config_files import find_config

    MMLogger.get_current_instance().setLevel("WARNING")
    console = output_console()
    cfg = Config.fromfile(find_config(arguments.config))
    with progress_display(console) as display:
        result = calibrate(cfg, arguments.checkpoint, request, arguments.split, arguments.verify, display)
    write_whole(arguments.out, calibration_text(result.calibration))
    what = {"box": "all four sides within", "side": "each side within"}[request.statement]
    title = f"{arguments.split}: {what} these margins with probability {request.level:g}; unit: "
    print_table(console, margins_table(result.margins), title + UNIT_TITLES[request.unit])
    if result.coverage:
        title = f"{arguments.verify}: coverage and width, level {100 * request.level:g} %"
        print_table(console, coverage_table(result.coverage, request.statement), title)
    print(f"wrote {arguments.out}. For bbox_inner and bbox_outer in results, write into your config:")
    print(f'model = dict(test_cfg=dict({OPTION}="{arguments.out}"))')
    return 0
