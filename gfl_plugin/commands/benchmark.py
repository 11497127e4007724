"""``gfl-plugin benchmark``"""

from __future__ import annotations

import argparse
import json
import os
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..analysis.benchmark import PairedCost, Row
    from ..analysis.benchmark.settings import Report
    from ..analysis.tables import Table

SUMMARY = "time MMDetection's GFLHead and the plugin's alternately, after checking that their numbers agree"
EXAMPLE = "gfl-plugin benchmark --boxes coco_val_boxes.json --json benchmark.json --plot benchmark.png"

_MIN_RUNS = 7


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command.

    Args:
        parser: parser of the command.
    """
    parser.add_argument(
        "--boxes",
        type=Path,
        help="JSON list of images with height, width, boxes (x1, y1, x2, y2) and labels (default: "
        "$GFL_DATA/coco_val_boxes.json)",
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--batch", type=int, default=8, help="images of 800×1344 per batch (default: 8)")
    parser.add_argument(
        "--classes", type=int, default=80, help="number of classes; labels are taken modulo this number (default: 80)"
    )
    parser.add_argument(
        "--runs", type=int, default=11, help=f"number of paired runs, at least {_MIN_RUNS} (default: 11)"
    )
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: 2)")
    parser.add_argument("--first", type=int, default=0, help="index of the first landscape image (default: 0)")
    parser.add_argument(
        "--above", type=int, default=1000, help="scores per image above the threshold at test time (default: 1000)"
    )
    parser.add_argument("--step-batch", type=int, default=2, help="images per whole training step (default: 2)")
    parser.add_argument("--step-size", type=int, default=320, help="side of these images in pixels (default: 320)")
    parser.add_argument("--bf16", action="store_true", help="run whole training steps with bf16 autocast")
    parser.add_argument("--only", default="", help="measure only rows whose name starts with this text")
    parser.add_argument(
        "--distribution-cost",
        action="store_true",
        help="instead, time a head with distributions against a head with one number per side at test time, for one "
        "image of 1280×1280",
    )
    parser.add_argument(
        "--uncertainty-cost",
        action="store_true",
        help="instead, time prediction with bbox_std and bbox_distributions against prediction without them",
    )
    parser.add_argument(
        "--export",
        action="store_true",
        help="instead, time whole images of 640×640, batch 1, with ResNet-18 and 50: MMDetection's test, and exported "
        "files in ONNX Runtime (and OpenVINO, if it is installed)",
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument(
        "--plot",
        type=Path,
        help="write a plot of loss + backward against objects, classes, batch and image size to this file",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the benchmark.

    Args:
        arguments: parsed arguments, see :func:`add_arguments`.

    Returns:
        0.

    Raises:
        ValueError: if an argument is wrong, or the numbers of the two heads differ.
        OSError: if a file is missing.
    """
    if arguments.runs < _MIN_RUNS:
        raise ValueError(
            f"--runs is {arguments.runs}; it must be at least {_MIN_RUNS}, since a median of fewer pairs is unreliable"
        )
    if arguments.distribution_cost:
        return _distribution_cost(arguments)
    if arguments.uncertainty_cost:
        return _uncertainty_cost(arguments)
    if arguments.export:
        return _export_speed(arguments)
    boxes = _boxes(arguments.boxes)

    import torch

    from ..analysis.benchmark import MachineLimits, Settings, measure, plot, row_names, sweep
    from ..analysis.machine import this_machine
    from ..analysis.progress import output_console, progress_display
    from ..analysis.tables import print_table

    only = arguments.only
    if not any(name.startswith(only) or only.startswith(name) for name in row_names()):
        raise ValueError(f"--only {only} matches no row; the rows are: {', '.join(row_names())}")
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"--device is {arguments.device}, but PyTorch {torch.__version__} finds no GPU")
    warnings.filterwarnings("ignore", message=".*num_anchors.*")  # MMDetection's own heads cause this warning
    torch.set_num_threads(arguments.threads)
    settings = Settings(
        boxes=boxes,
        batch=arguments.batch,
        classes=arguments.classes,
        first=arguments.first,
        runs=arguments.runs,
        device=arguments.device,
        above=arguments.above,
        step_batch=arguments.step_batch,
        step_size=arguments.step_size,
        low_precision=arguments.bf16,
    )
    machine, console, points = this_machine(), output_console(), []
    with progress_display(console) as display, display.task("memory bandwidth and exponentials per second") as task:
        limits = MachineLimits.measured(arguments.device)
        rows = list(measure(settings, limits, task.update, only))
    title = f"{settings.case().description}; {arguments.threads} threads; {machine}, {_mmcv()}"
    print_table(console, _table(rows), title)
    console.print(
        f"Floor: the slower of memory traffic at {limits.copy_bandwidth / 1e9:.0f} GB/s (read and written by copies) "
        f"and {limits.exp_rate / 1e9:.1f} billion exponentials per second."
    )

    def write() -> None:
        if arguments.json:
            content = {
                "case": title,
                "machine": {**asdict(machine), **asdict(limits)},
                "settings": {**asdict(settings), "boxes": settings.boxes.name},
                "rows": [asdict(row) for row in rows],
                "sweep": [asdict(point) for point in points],
            }
            _write_json(arguments.json, content)

    write()
    if arguments.plot:
        with progress_display(console) as display, display.task("sweep") as task:
            for point in sweep(settings, task.update):
                points.append(point)
                write()
        plot(points, title, arguments.plot)
    for path in filter(None, (arguments.json, arguments.plot)):
        console.print(f"wrote {path}", markup=False, soft_wrap=True)
    return 0


def _distribution_cost(arguments: argparse.Namespace) -> int:
    """Run ``--distribution-cost``."""
    from ..analysis.benchmark import distribution_cost

    warnings.filterwarnings("ignore", message=".*num_anchors.*")  # MMDetection's own heads cause this warning
    names = ("classes", "above", "runs", "device")
    case = f"1 image of 1280×1280, {arguments.classes} classes"
    return _paired_costs(
        arguments,
        case,
        ("", "Dirac sides", "distributions"),
        lambda report: distribution_cost(**{name: getattr(arguments, name) for name in names}, report=report),
    )


def _uncertainty_cost(arguments: argparse.Namespace) -> int:
    """Run ``--uncertainty-cost``."""
    from ..analysis.benchmark import Settings, uncertainty_cost

    names = ("batch", "classes", "first", "runs", "device", "above")
    settings = Settings(boxes=_boxes(arguments.boxes), **{name: getattr(arguments, name) for name in names})
    return _paired_costs(
        arguments,
        f"predict_by_feat, batch {arguments.batch}",
        ("test_cfg", "without", "with"),
        lambda report: uncertainty_cost(settings, report),
    )


def _export_speed(arguments: argparse.Namespace) -> int:
    """Run ``--export``."""
    from ..analysis.benchmark.export_speed import ExportCase, export_speed
    from ..analysis.machine import this_machine
    from ..analysis.progress import output_console, progress_display
    from ..analysis.tables import Column, Table, print_table
    from ..export.export_model import PACKAGES
    from ..runtime.install_advice import module_or_advice

    for package in PACKAGES:
        module_or_advice(package, "export")
    warnings.filterwarnings("ignore", message=".*num_anchors.*")  # MMDetection's own heads cause this warning
    console, machine, measured = output_console(), this_machine(), {}
    columns = (Column("", numeric=False), *map(Column, ("ms per image", "images/s", "MMDetection / this", "quartiles")))
    for depth in (18, 50):
        case = ExportCase(depth, 640, arguments.classes, arguments.above, arguments.runs, arguments.threads)
        with progress_display(console) as display, display.task(f"ResNet-{depth}") as task:
            measured[f"ResNet-{depth}"] = rows = export_speed(case, task.update)
        cells = tuple(
            (
                row.name,
                f"{row.milliseconds:.1f}",
                f"{1000 / row.milliseconds:.1f}",
                f"{row.ratio:.2f}",
                f"{row.low:.2f} … {row.high:.2f}",
                row.agreement,
            )
            for row in rows
        )
        title = f"ResNet-{depth}, 1 image of 640×640; {arguments.threads} threads; {machine}, {_mmcv()}"
        print_table(console, Table((*columns, Column("agreement", numeric=False)), cells), title)
    if arguments.json:
        rows = {name: [asdict(row) for row in rows] for name, rows in measured.items()}
        content = {"machine": asdict(machine), "threads": arguments.threads, "rows": rows}
        _write_json(arguments.json, content)
        console.print(f"wrote {arguments.json}", markup=False, soft_wrap=True)
    return 0


def _paired_costs(
    arguments: argparse.Namespace,
    case: str,
    headings: tuple[str, str, str],
    measure: Callable[[Report], list[PairedCost]],
) -> int:
    """Measure paired costs, print their table, and write them where ``--json`` says."""
    import torch

    from ..analysis.machine import this_machine
    from ..analysis.progress import output_console, progress_display
    from ..analysis.tables import Column, Table, print_table

    torch.set_num_threads(arguments.threads)
    console, machine = output_console(), this_machine()
    with progress_display(console) as display, display.task(case) as task:
        costs = measure(task.update)
    rows = tuple(
        (
            cost.name,
            f"{1000 * cost.first:.2f} ms",
            f"{1000 * cost.second:.2f} ms",
            f"{cost.ratio:.3f}",
            f"{cost.low:.3f} … {cost.high:.3f}",
        )
        for cost in costs
    )
    title = f"{case}; {arguments.threads} threads; {machine}, {_mmcv()}"
    columns = (Column(headings[0], numeric=False), *map(Column, (*headings[1:], "ratio", "quartiles")))
    print_table(console, Table(columns, rows), title)
    if arguments.json:
        content = {"case": title, "machine": asdict(machine), "rows": [asdict(cost) for cost in costs]}
        _write_json(arguments.json, content)
        console.print(f"wrote {arguments.json}", markup=False, soft_wrap=True)
    return 0


def _write_json(path: Path, content: dict) -> None:
    from ..runtime.atomic_files import write_whole

    write_whole(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _boxes(given: Path | None) -> Path:
    """The file of boxes: the given file, or coco_val_boxes.json in the folder GFL_DATA."""
    folder = os.environ.get("GFL_DATA")
    if given is None and not folder:
        raise ValueError("pass a file of boxes with --boxes, or set GFL_DATA to the folder with coco_val_boxes.json")
    path = given or Path(folder) / "coco_val_boxes.json"
    if not path.is_file():
        raise FileNotFoundError(f"--boxes: file not found: {path}")
    return path


def _table(rows: list[Row]) -> Table:
    from ..analysis.tables import Column, Table

    numbers = ("MMDetection", "gfl_plugin", "ratio", "quartiles", "floor", "ours / floor")
    columns = (Column("", numeric=False), *map(Column, numbers), Column("compared in the same run", numeric=False))
    return Table(columns, tuple(map(_cells, rows)))


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        row.text(row.theirs),
        row.text(row.ours),
        f"{row.ratio:.2f}x",
        "" if row.low is None else f"{row.low:.1f} … {row.high:.1f}",
        row.text(row.floor),
        "" if row.floor is None else f"{row.ours / row.floor:.1f}",
        row.agreement,
    )


def _mmcv() -> str:
    """Name and version of the installed mmcv, and whether it has compiled ops."""
    import mmcv

    from ..runtime.compat.mmcv_ops import are_compiled
    from ..runtime.distributions import provider

    installed = provider("mmcv")
    name = "mmcv" if installed is None else installed.name
    return f"{'compiled ' if are_compiled() else ''}{name} {mmcv.__version__}"
