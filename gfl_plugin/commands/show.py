"""``gfl-plugin show``

Writes one PNG per image: its boxes and, for the best of them, four curves that show
where the model believes the left, top, right and bottom side to lie. A curve is high
and narrow for a sharp boundary, low and wide for an ambiguous one. More examples:
  gfl-plugin show my.py epoch_12.pth one.jpg two.jpg -o pictures --score-thr 0.5
  gfl-plugin show my.py epoch_12.pth images/ -o pictures --count 3
How to read a picture, and how to get them during training: docs/pictures.md
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

SUMMARY = "draw on images where the model believes each side of its boxes to lie"
EXAMPLE = "gfl-plugin show my_config.py work_dirs/my_config/epoch_12.pth image.jpg -o pictures"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command.

    Args:
        parser: parser of the command.
    """
    parser.add_argument("config", help="a file or a name of a config")
    parser.add_argument("checkpoint", type=Path, help="its trained weights")
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="image files, and folders of images")
    parser.add_argument(
        "-o", "--out", type=Path, required=True, help="folder of the pictures, which is created; NAME.png is replaced"
    )
    add_drawing_options(parser)


def add_drawing_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which boxes are drawn.

    Args:
        parser: parser of the command.
    """
    parser.add_argument("--score-thr", type=float, default=0.3, help="smallest score of a box (default: 0.3)")
    parser.add_argument(
        "--count", type=int, default=6, help="boxes per picture that get curves, the best first (default: 6)"
    )


def check_drawing_options(arguments: argparse.Namespace) -> None:
    """Check the options of :func:`add_drawing_options`.

    Args:
        arguments: parsed arguments.

    Raises:
        ValueError: if one is outside of its range.
    """
    if not 0 <= arguments.score_thr <= 1:
        raise ValueError(f"--score-thr is {arguments.score_thr:g}; it must be in [0, 1]")
    if arguments.count < 0:
        raise ValueError(f"--count is {arguments.count}; it must be 0 or more")


def run(arguments: argparse.Namespace) -> int:
    """Write the pictures.

    Args:
        arguments: parsed arguments, see :func:`add_arguments`.

    Returns:
        0, or 1 if an image is missing or cannot be read.

    Raises:
        ValueError: if an argument is wrong, or a picture would replace an image.
        FileNotFoundError: if the config, the checkpoint or all images do not exist.
    """
    check_drawing_options(arguments)

    from mmengine.config import Config
    from mmengine.logging import MMLogger

    from ..analysis.progress import output_console, progress_display
    from ..analysis.side_errors import load_detector
    from ..analysis.side_pictures import image_files, picture_files, what_is_drawn, write_side_pictures
    from ..heads.box_intervals import OPTION
    from ..runtime.config_files import find_config

    MMLogger.get_current_instance().setLevel("WARNING")
    images = image_files(arguments.images)
    picture_files(images, arguments.out)  # checks them before the model is loaded
    cfg = Config.fromfile(find_config(arguments.config))
    # Settings of the config may not fit the head, or name files that are elsewhere.
    settings = dict.fromkeys(("with_uncertainty", "with_distributions", OPTION))
    detector = load_detector(cfg, arguments.checkpoint, **settings)
    if note := what_is_drawn(getattr(detector.model, "bbox_head", None)):
        print(note)
    arguments.out.mkdir(parents=True, exist_ok=True)
    written, failed = 0, 0
    with progress_display(output_console()) as display, display.task("drawing", total=len(images)) as task:
        pictures = write_side_pictures(detector, images, arguments.out, arguments.score_thr, arguments.count)
        for number, one in enumerate(pictures):
            if one.error:
                failed += 1
                print(f"gfl-plugin show: {one.error}", file=sys.stderr)
            else:
                written += 1
            if one.picture is not None and not one.boxes:
                display.print(f"{one.image}: no detection with a score of at least {arguments.score_thr:g}")
            task.update(completed=number + 1)
    print(f"wrote {written} picture{'' if written == 1 else 's'} to {arguments.out}")
    return 1 if failed else 0
