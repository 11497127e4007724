"""``gfl-plugin predict``

Runs a network that is an ONNX file, one that gfl-plugin export has written or one
of another toolbox whose box sides are distributions (NanoDet, YOLOv8, PicoDet, ...).
Writes OUT/results.json, with the standard deviation of each side in pixels, and one
picture per image as gfl-plugin show does. A layout says what the outputs of a file
of another toolbox mean: docs/other-networks.md
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .show import add_drawing_options, check_drawing_options

if TYPE_CHECKING:
    from ..analysis.side_pictures import WrittenPicture
    from ..export.layouts.detector import OnnxDetector

SUMMARY = "run an ONNX file of this package or of another toolbox, and draw where the sides of its boxes lie"
EXAMPLE = "gfl-plugin predict --onnx model.onnx --layout nanodet_plus image.jpg -o found"

RESULTS = "results.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command.

    Args:
        parser: parser of the command.
    """
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="image files, and folders of images")
    parser.add_argument("--onnx", type=Path, required=True, metavar="MODEL.onnx", help="the network")
    parser.add_argument(
        "--layout", help="what its outputs mean: a name or a JSON file; files of gfl-plugin export need none"
    )
    parser.add_argument(
        "-o", "--out", type=Path, required=True, help=f"folder of {RESULTS} and NAME.png, which is created"
    )
    add_drawing_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the results.

    Args:
        arguments: parsed arguments, see :func:`add_arguments`.

    Returns:
        0, or 1 if an image is missing or cannot be read.

    Raises:
        ValueError: if an argument is wrong, a picture would replace an image, or the layout does not fit the file.
        FileNotFoundError: if the ONNX file, the layout or all images do not exist.
        ImportError: if a package of the extra ``[export]`` is missing.
    """
    check_drawing_options(arguments)

    import numpy as np

    from ..analysis.progress import output_console, progress_display
    from ..analysis.side_pictures import Drawn, image_files, picture_files, write_pictures
    from ..export.layouts.detector import open_detector

    images = image_files(arguments.images)
    picture_files(images, arguments.out)  # checks them before the network is loaded
    detector = open_detector(arguments.onnx, arguments.layout)
    for line in (detector.about, *detector.notes):
        print(line)
    classes = detector.classes or tuple(map(str, range(detector.class_count)))
    bins = None if detector.bins is None else np.array(detector.bins)
    drawn = Drawn(classes, bins, arguments.score_thr, arguments.count)
    arguments.out.mkdir(parents=True, exist_ok=True)
    done, failed = [], []
    with progress_display(output_console()) as display, display.task("predicting", total=len(images)) as task:
        pictures = write_pictures(lambda _, pixels: detector.find(pixels).fields(), drawn, images, arguments.out)
        for number, one in enumerate(pictures):
            if one.error:
                failed.append({"file": str(one.image), "error": one.error})
                print(f"gfl-plugin predict: {one.error}", file=sys.stderr)
            else:
                done.append(_entry(one, classes, arguments.score_thr))
            task.update(completed=number + 1)
    _write(detector, classes, arguments, done, failed)
    count = sum(len(one["detections"]) for one in done)
    print(f"{count} objects in {len(done)} image{'' if len(done) == 1 else 's'}: {arguments.out / RESULTS}")
    return 1 if failed else 0


def _entry(one: WrittenPicture, classes: tuple[str, ...], score_thr: float) -> dict[str, object]:
    """An image in the form that ``detect.py`` writes."""
    from ..export.runner.detect import Detections, as_json
    from ..structures.side_fields import BBOX_STD

    found = one.found
    detections = Detections(found["bboxes"], found["scores"], found["labels"], found.get(BBOX_STD))
    detections = detections.rows(detections.scores >= score_thr)
    width, height = one.size
    return {"file": str(one.image), "width": width, "height": height, "detections": as_json(detections, classes)}


def _write(
    detector: OnnxDetector, classes: tuple[str, ...], arguments: argparse.Namespace, done: list, failed: list
) -> None:
    results = {"model": detector.about, "classes": classes, "score": arguments.score_thr}
    text = json.dumps({**results, "images": done, "failed": failed}, indent=1, ensure_ascii=False)
    (arguments.out / RESULTS).write_text(text, encoding="utf-8")
