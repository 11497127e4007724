#!/usr/bin/env python3
"""Time MMDetection's GFLHead and the plugin's on the same tensors, in turn, after checking that their numbers agree.

Example: python tools/benchmark.py --boxes coco_val_boxes.json --json benchmark.json
"""

from __future__ import annotations

import argparse
import json
import os
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
    parser.add_argument("--batch", type=int, default=8, help="images")
    parser.add_argument("--classes", type=int, default=80, help="classes; labels are taken modulo this")
    parser.add_argument("--runs", type=int, default=11, help="paired runs, at least 7")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--first", type=int, default=0, help="index of the first landscape image taken")
    parser.add_argument("--json", type=Path, help="file for the figures")
    args = parser.parse_args()
    if args.boxes is None:
        parser.error("name a file of boxes with --boxes, or its folder with the variable GFL_DATA")
    if not args.boxes.is_file():
        parser.error(f"--boxes {args.boxes} is no file")
    if args.runs < 7:
        parser.error(f"--runs is {args.runs}; a median of fewer than 7 pairs says little")

    from rich.console import Console
    from rich.progress import track
    from rich.table import Table

    from gfl_plugin.analysis.benchmark import BenchmarkCase, measure, run_pairs

    console = Console()
    case = BenchmarkCase.coco(args.boxes, args.batch, args.classes, args.first)
    agreement, pairs = run_pairs(case, args.runs, args.threads, lambda steps: track(steps, "pairs", console=console))
    rows = measure(case, pairs)

    table = Table(title=case.description)
    for heading, side in (("", "left"), ("MMDetection", "right"), ("gfl_plugin", "right"), ("ratio", "right"),
                          ("quartiles of the ratio", "right")):  # fmt: skip
        table.add_column(heading, justify=side)
    for row in rows:
        spread = "" if row.low is None else f"{row.low:.1f} … {row.high:.1f}"
        table.add_row(row.name, row.theirs_text, row.ours_text, f"{row.ratio:.1f}x", spread)
    console.print(table)
    console.print("Largest differences in this run: " + ", ".join(f"{k} {v:.1e}" for k, v in agreement.items()))
    if args.json:
        content = {"case": case.description, "agreement": agreement, "rows": [asdict(row) for row in rows]}
        args.json.write_text(json.dumps(content, indent=2) + "\n")
        console.print(f"Written to {args.json}")


if __name__ == "__main__":
    main()
