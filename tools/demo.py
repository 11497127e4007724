#!/usr/bin/env python3
"""Train GFL and the ATSS baseline on a small embedded data set, and compare them.

Example: python tools/demo.py --out work_dirs/demo
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("work_dirs/demo"), help="folder for everything it writes")
    parser.add_argument("--epochs", type=int, default=10, help="epochs of training for each model")
    parser.add_argument("--images", type=int, default=600, help="training images; a quarter as many for validation")
    parser.add_argument("--seed", type=int, default=0, help="seed of the data and of each training")
    args = parser.parse_args()

    warnings.simplefilter("ignore")  # MMDetection's and MMEngine's notes on their own deprecated names
    try:
        demonstrate(args)
    except ImportError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    return 0


def demonstrate(args: argparse.Namespace) -> None:
    import gfl_plugin  # noqa: F401  isort: skip  (first: it says how to install what the next lines import)
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.table import Table

    from gfl_plugin.demo.dataset import DemoSize
    from gfl_plugin.demo.study import run_study

    console = Console()
    started = time.time()
    columns = (TextColumn("{task.description:16}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=console) as progress:
        tasks: dict[str, int] = {}

        def report(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=total)
            progress.update(tasks[name], completed=done)

        size = DemoSize(train=args.images, val=max(1, args.images // 4))
        configs = Path(__file__).resolve().parents[1] / "configs" / "demo"
        results = run_study(configs, args.out, size, args.epochs, args.seed, report)

    table = Table(title=f"{args.images} images, {args.epochs} epochs, {time.time() - started:.0f} s")
    table.add_column("model")
    for heading in ("AP", "AP50", "AP75", "ms a training step"):
        table.add_column(heading, justify="right")
    for row in results:
        table.add_row(row.model, f"{row.ap:.1f}", f"{row.ap50:.1f}", f"{row.ap75:.1f}", f"{row.step_ms:.0f}")
    console.print(table)
    console.print(f"Detections beside ground truth: {args.out / 'detections.png'}")
    console.print(f"The table: {args.out / 'results.md'} and {args.out / 'results.json'}")


if __name__ == "__main__":
    sys.exit(main())
