#!/usr/bin/env python3
"""Time MMDetection's GFLHead and the plugin's on the same tensors, in turn, after checking that their numbers agree.

Example: python tools/benchmark.py --boxes coco_val_boxes.json --json benchmark.json --plot benchmark.png
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from dataclasses import asdict
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = os.environ.get("GFL_DATA")
    parser.add_argument(
        "--boxes",
        type=Path,
        default=Path(data) / "coco_val_boxes.json" if data else None,
        help="JSON list of images with height, width, boxes (x1, y1, x2, y2) and labels; "
        "default: $GFL_DATA/coco_val_boxes.json",
    )
    parser.add_argument("--device", default="cpu", help="cpu, or cuda")
    parser.add_argument("--batch", type=int, default=8, help="images of 800×1344")
    parser.add_argument("--classes", type=int, default=80, help="classes; labels are taken modulo this")
    parser.add_argument("--runs", type=int, default=11, help="paired runs, at least 7")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--first", type=int, default=0, help="index of the first landscape image taken")
    parser.add_argument("--above", type=int, default=1000, help="scores an image above the threshold at test time")
    parser.add_argument("--step-batch", type=int, default=2, help="images of a whole training step")
    parser.add_argument("--step-size", type=int, default=320, help="side of its images, pixels")
    parser.add_argument("--bf16", action="store_true", help="whole steps under bf16 autocast")
    parser.add_argument("--only", help="rows whose name begins so")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--plot", type=Path, help="picture of loss + backward against objects, classes, batch and size")
    args = parser.parse_args()
    if args.boxes is None:
        parser.error("name a file of boxes with --boxes, or its folder with the variable GFL_DATA")
    if not args.boxes.is_file():
        parser.error(f"--boxes {args.boxes} is no file")
    if args.runs < 7:
        parser.error(f"--runs is {args.runs}; a median of fewer than 7 pairs says little")

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout works uninstalled, too
    import torch
    from rich.console import Console

    from gfl_plugin.analysis.benchmark import Machine, Settings, measure, plot, row_names, sweep

    if args.only and not any(n.startswith(args.only) or args.only.startswith(n) for n in row_names()):
        parser.error(f"--only {args.only} names no row; the rows are: {', '.join(row_names())}")
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error(f"--device {args.device}: this PyTorch ({torch.__version__}) finds no GPU")
    warnings.filterwarnings("ignore", message=".*num_anchors.*")  # MMDetection's, about its own heads
    torch.set_num_threads(args.threads)
    console = Console()
    settings = Settings(
        boxes=args.boxes, batch=args.batch, classes=args.classes, first=args.first, runs=args.runs,
        device=args.device, above=args.above, step_batch=args.step_batch, step_size=args.step_size,
        low_precision=args.bf16,
    )  # fmt: skip
    with console.status("the machine's copies and exponentials are measured") as status:

        def report(name: str) -> None:
            status.update(name)

        machine = Machine.measured(args.device)
        rows = list(measure(settings, machine, report, args.only or ""))
    title = f"{settings.case().description}; {machine.name}, PyTorch {torch.__version__}, {_mmcv()}"
    console.print(_table(title, rows))
    console.print(
        f"Floors: {machine.copy_bandwidth / 1e9:.0f} GB/s read and written by copies, "
        f"{machine.exp_rate / 1e9:.1f} billion exponentials a second; the larger of the two."
    )
    points = []

    def write() -> None:
        if args.json:
            content = {
                "case": title,
                "machine": asdict(machine),
                "settings": {**asdict(settings), "boxes": settings.boxes.name},
                "rows": [asdict(row) for row in rows],
                "sweep": [asdict(point) for point in points],
            }
            args.json.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    write()
    if args.plot:
        with console.status("sweep") as status:
            for point in sweep(settings, status.update):
                points.append(point)
                write()
        plot(points, title, args.plot)
        console.print(f"Drawn to {args.plot}")
    if args.json:
        console.print(f"Written to {args.json}")


def _table(title: str, rows: list) -> object:
    from rich.table import Table

    table = Table(title=title)
    for heading in ("", "MMDetection", "gfl_plugin", "ratio", "quartiles", "floor", "ours / floor", "compared first"):
        table.add_column(heading, justify="left" if heading in ("", "compared first") else "right")
    for row in rows:
        spread = "" if row.low is None else f"{row.low:.1f} … {row.high:.1f}"
        above = "" if row.floor is None else f"{row.ours / row.floor:.1f}"
        table.add_row(row.name, row.text(row.theirs), row.text(row.ours), f"{row.ratio:.2f}x", spread,
                      row.text(row.floor), above, row.agreement)  # fmt: skip
    return table


def _mmcv() -> str:
    import importlib.metadata

    import mmcv

    try:
        importlib.metadata.version("mmcv")
    except importlib.metadata.PackageNotFoundError:
        return f"mmcv-lite {mmcv.__version__}"
    return f"compiled mmcv {mmcv.__version__}"


if __name__ == "__main__":
    main()
