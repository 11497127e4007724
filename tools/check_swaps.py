#!/usr/bin/env python3
"""Swap the head of every dense detector MMDetection ships a config of; build, train a step, predict; say what failed.

Some backbones need compiled mmcv (deformable convolutions) or mmpretrain.

Example: python tools/check_swaps.py --only retinanet ssd
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gfl_plugin.analysis.swap_check import Check


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--head", choices=["gfl", "qfl"], default="gfl", help="what to swap in")
    parser.add_argument("--only", nargs="+", help="only configs whose name contains one of these")
    parser.add_argument("--out", type=Path, help="a Markdown file for the table")
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # MMDetection's and MMEngine's notes on their own deprecated names

    from rich.console import Console
    from rich.progress import track

    from gfl_plugin.analysis.swap_check import check_all, dense_configs

    console = Console()
    configs = dense_configs()
    if args.only:
        configs = [one for one in configs if any(part in one[0] for part in args.only)]
    if not configs:
        parser.error(f"no config's name contains {' or '.join(args.only)}")
    checks = []
    with tempfile.TemporaryDirectory() as folder:
        for check in track(check_all(configs, Path(folder), args.head), total=len(configs), console=console):
            checks.append(check)
            if check.failure:
                console.print(
                    f"{_verdict(check)} {check.name} ({check.head}): {check.failure}", markup=False, soft_wrap=True
                )
            elif not console.is_terminal:
                console.print(f"done {check.name} ({check.head}), {check.seconds:.1f} s", markup=False, soft_wrap=True)
    verdicts = Counter(_verdict(check) for check in checks)
    console.print(f"{len(checks)} configs: " + ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items()))
    if args.out:
        lines = ["| config | head | |", "|---|---|---|"]
        lines += [
            f"| {c.name} | {c.head} | {_verdict(c)}{': ' if c.failure else ''}{c.failure or ''} |" for c in checks
        ]
        args.out.write_text("\n".join(lines) + "\n")
    return 1 if verdicts["failed"] else 0


def _verdict(check: Check) -> str:
    if check.failure is None:
        return "done"
    return "failed" if check.base_failure is None else "not buildable before the swap either"


if __name__ == "__main__":
    sys.exit(main())
