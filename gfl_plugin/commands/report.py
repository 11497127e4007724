"""``gfl-plugin report``

Detections of labelled images are compared with the objects. The page OUT/report.html
needs no network. It shows AP and what each kind of error costs, scores against true IoU,
the uncertainty of sides against their errors, the images, and annotations whose sides
are probably wrong. The numbers are in report.json, detections.csv, objects.csv and
errors.csv. With two models, it also shows what one finds and the other misses:
  gfl-plugin report a.py a.pth b.py b.pth --split test -o report/
A network of another toolbox as an ONNX file gets the same page:
  gfl-plugin report --onnx m.onnx --layout nanodet_plus --annotations labels.json
    --images images/ -o report/
An interrupted command continues if it is typed again. More: docs/report.md
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..analysis.report.image_source import Subject

SUMMARY = "show on one page what is wrong with a model, and with the labels of its data"
EXAMPLE = "gfl-plugin report my_config.py work_dirs/my_config/epoch_12.pth -o report/"

_PACKAGES = ("jinja2", "altair", "vl_convert", "PIL", "matplotlib", "crepes")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command.

    Args:
        parser: parser of the command.
    """
    parser.add_argument(
        "models",
        nargs="*",
        metavar="CONFIG CHECKPOINT",
        help="a file or a name of a config, and its trained weights; any number of such pairs",
    )
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder of the report; it is created")
    parser.add_argument(
        "--split", choices=("val", "test", "train"), default="val", help="data loader of the configs (default: val)"
    )
    parser.add_argument(
        "--level", type=float, default=0.9, help="probability that a side is within its interval (default: 0.9)"
    )
    onnx = parser.add_argument_group("a network as an ONNX file instead of CONFIG CHECKPOINT")
    onnx.add_argument("--onnx", type=Path, metavar="MODEL.onnx", help="of this package or of another toolbox")
    onnx.add_argument("--layout", help="what its outputs mean: a name or a JSON file, see docs/other-networks.md")
    onnx.add_argument(
        "--annotations", type=Path, metavar="COCO.json", help="labels in COCO's format; or name a CONFIG that has them"
    )
    onnx.add_argument("--images", type=Path, metavar="FOLDER", help="folder of their images")


def run(arguments: argparse.Namespace) -> int:
    """Write the report and print its main numbers.

    Args:
        arguments: parsed arguments, see :func:`add_arguments`.

    Returns:
        0; 130 after an interrupt.

    Raises:
        ValueError: if an argument is wrong, or model and data do not fit.
        FileNotFoundError: if a config or a checkpoint does not exist.
        ImportError: if a package of the extra ``[report]``, or of ``[export]`` for an ONNX file, is missing.
    """
    _check_words(arguments)
    if not 0 < arguments.level < 1:
        raise ValueError(f"--level is {arguments.level:g}; it must be a number between 0 and 1, such as 0.9")
    if arguments.out.exists() and not arguments.out.is_dir():
        raise FileExistsError(f"{arguments.out} is a file; name a folder")

    from mmengine.logging import MMLogger

    from ..analysis.progress import output_console, progress_display
    from ..analysis.report.printed_summary import accuracy_table, costs_table
    from ..analysis.report.report_content import PAGE
    from ..analysis.report.write_report import Request, write_report
    from ..analysis.tables import print_table
    from ..runtime.install_advice import module_or_advice

    for package in _PACKAGES:  # before minutes of prediction
        module_or_advice(package, "report")
    MMLogger.get_current_instance().setLevel("WARNING")
    subjects = _detectors(arguments) if arguments.onnx is None else [_onnx(arguments)]
    arguments.out.mkdir(parents=True, exist_ok=True)
    console = output_console()
    try:
        with progress_display(console) as display:
            content = write_report(
                Request(tuple(subjects), arguments.level, _command(arguments)), arguments.out, display
            )
    except KeyboardInterrupt:
        print("\nInterrupted. Predictions are kept; the same command predicts the other images.", file=sys.stderr)
        return 130
    print_table(console, accuracy_table(content.models), content.split)
    print_table(console, costs_table(content.models), "AP50 to gain by repairing one kind of error")
    for model in content.models:
        for sentence in model.missing:
            console.print(f"{model.name}: {sentence}", markup=False, highlight=False, soft_wrap=True)
    print(f"wrote {arguments.out / PAGE}: open it in a browser")
    return 0


def _check_words(arguments: argparse.Namespace) -> None:
    """Check which arguments are given."""
    apart = {name: getattr(arguments, name) for name in ("layout", "annotations", "images")}
    if arguments.onnx is None:
        for name, value in apart.items():
            if value is not None:
                raise ValueError(f"--{name} is for --onnx MODEL.onnx, which is not given")
        if not arguments.models:
            raise ValueError("name CONFIG CHECKPOINT, or --onnx MODEL.onnx")
        return
    labels = [name for name in ("annotations", "images") if apart[name] is not None]
    if len(arguments.models) > 1 or bool(arguments.models) == bool(labels) or len(labels) == 1:
        raise ValueError(
            "--onnx needs labelled images: either --annotations COCO.json --images FOLDER, or one CONFIG; got "
            f"{' '.join([*arguments.models, *(f'--{name}' for name in labels)]) or 'none of them'}"
        )


def _detectors(arguments: argparse.Namespace) -> list[Subject]:
    """The configs with their checkpoints."""
    from mmengine.config import Config

    from ..analysis.report.detector_source import DetectorSubject
    from ..analysis.report.model_names import model_names
    from ..runtime.config_files import find_config

    pairs, subjects = _pairs(arguments.models), []
    for name, (config, checkpoint) in zip(model_names(pairs), pairs):
        if not checkpoint.is_file():
            raise FileNotFoundError(f"checkpoint not found: {checkpoint}")
        cfg = Config.fromfile(find_config(config))
        subjects.append(DetectorSubject(name, config, cfg, checkpoint, arguments.split))
    return subjects


def _onnx(arguments: argparse.Namespace) -> Subject:
    """The ONNX file with its labelled images."""
    from ..analysis.report.labelled_sets import coco_images, config_images
    from ..analysis.report.matched_classes import match_classes
    from ..analysis.report.model_names import model_names
    from ..analysis.report.onnx_source import OnnxSubject
    from ..export.layouts.detector import open_detector

    detector = open_detector(arguments.onnx, arguments.layout)
    print(detector.about)
    if arguments.annotations is not None:
        images, split = coco_images(arguments.annotations, arguments.images), arguments.annotations.stem
    else:
        images, split = config_images(arguments.models[0], arguments.split), arguments.split
    classes = match_classes(detector.class_count, detector.classes, images)
    (name,) = model_names([(str(arguments.onnx), arguments.onnx)])
    return OnnxSubject(name, arguments.layout or "", detector, images, classes, split)


def _pairs(words: list[str]) -> list[tuple[str, Path]]:
    """Configs with their checkpoints."""
    if len(words) % 2:
        raise ValueError(
            f"each config needs its checkpoint: CONFIG CHECKPOINT [CONFIG CHECKPOINT ...]; got {len(words)} names: "
            f"{' '.join(words)}"
        )
    return [(config, Path(checkpoint)) for config, checkpoint in zip(words[::2], words[1::2])]


def _command(arguments: argparse.Namespace) -> str:
    import shlex

    words = ["gfl-plugin", "report", *arguments.models]
    for name in ("onnx", "layout", "annotations", "images"):
        if getattr(arguments, name) is not None:
            words += [f"--{name}", str(getattr(arguments, name))]
    words += ["-o", str(arguments.out)]
    if arguments.annotations is None:
        words += ["--split", arguments.split]
    return shlex.join([*words, "--level", f"{arguments.level:g}"])
