#!/usr/bin/env python3
"""Run a study of configs/ablation: every variant over several seeds, each in its own process, then a table.

Interrupt it when you like: run again, it goes on with what is not done. Results lie in --work-dir.

Example: python tools/ablate.py components --scale demo --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from datetime import datetime, timezone
from pathlib import Path

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", help="a folder of configs/ablation; a wrong one lists them")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of training")
    parser.add_argument(
        "--scale", choices=["demo", "bccd", "coco"], default="demo", help="small detector on small data, or COCO"
    )
    parser.add_argument(
        "--jobs", type=int, help="runs at the same time (one a GPU; without one, at a small scale, one a core)"
    )
    parser.add_argument("--variants", nargs="+", help="only these variants")
    parser.add_argument("--work-dir", type=Path, help="folder of this study's runs (work_dirs/ablation/SCALE/STUDY)")
    parser.add_argument("--out", type=Path, help="folder for the table, JSON and plot (the work dir)")
    parser.add_argument("--report", action="store_true", help="run nothing; only report what is finished")
    args = parser.parse_args()
    if args.jobs is not None and args.jobs < 1:
        parser.error(f"--jobs is {args.jobs}; at least one run is made at a time")
    warnings.simplefilter("ignore")  # MMDetection's and MMEngine's notes on their own deprecated names
    try:
        return ablate(args)
    except (ValueError, OSError, ImportError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nInterrupted; what is finished is kept. The same command goes on with the rest.", file=sys.stderr)
        return 130


def ablate(args: argparse.Namespace) -> int:
    import gfl_plugin  # noqa: F401  isort: skip  (first: it says how to install what the next lines import)
    import torch
    from mmengine.logging import MMLogger
    from rich.console import Console
    from rich.table import Table

    from gfl_plugin.analysis.studies import plan, scale, table
    from gfl_plugin.analysis.studies.queue import run_all
    from gfl_plugin.analysis.studies.study import chosen, find_study
    from gfl_plugin.analysis.studies.watch import watching

    MMLogger.get_current_instance().setLevel("WARNING")
    console = Console()
    if not console.is_terminal:
        console = Console(width=180)  # a log has no edge
    study = chosen(find_study(CONFIGS / "ablation", args.study), args.variants)
    work_dir = args.work_dir or Path("work_dirs") / "ablation" / args.scale / study.name
    plan.claim(work_dir, study.name, args.scale)
    with console.status("data") as status:
        data = scale.find_data(
            args.scale, work_dir.parent, lambda done, total: status.update(f"making data: {done} of {total} images")
        )
    runs = [
        plan.planned(variant, seed, work_dir, scale.config_of(variant, args.scale, CONFIGS, data), data)
        for seed in sorted(set(args.seeds))
        for variant in study.variants
    ]
    started, failed = time.time(), []
    if args.report:
        plan.to_do(runs)  # says where a result is of another config
    else:
        with plan.alone_in(work_dir):
            open_runs = plan.to_do(runs)
            done = len(runs) - len(open_runs)
            console.print(f"{study.name} at scale {args.scale}: {len(runs)} runs, {done} done before")
            plan.need_room(open_runs, work_dir)
            cores = 1 if args.scale == "coco" else len(plan.cores())
            jobs = args.jobs or max(1, min(torch.cuda.device_count() or cores, len(open_runs)))
            with watching(console, len(runs), done) as watcher:
                failed = run_all(open_runs, jobs, watcher)

    rows = table.rows_of(study, runs)
    shown = Table(title=f"{study.name}, {args.scale}, {time.time() - started:.0f} s")
    for number, heading in enumerate(table.HEADINGS):
        shown.add_column(heading, justify="right" if number else "left")
    for row in rows:
        shown.add_row(*table.cells(row))
    console.print(shown)
    machine = plan.machine()
    about = {
        "scale": args.scale,
        "command": f"python tools/ablate.py {study.name} --scale {args.scale} --seeds {' '.join(map(str, args.seeds))}"
        + (f" --variants {' '.join(args.variants)}" if args.variants else "")
        + (f" --jobs {args.jobs}" if args.jobs else ""),
        "machine": f"{machine.processor}, {machine.cores} cores, PyTorch {machine.torch}",
        "date": datetime.now(timezone.utc).date().isoformat(),
    }
    for path in table.save(study, rows, about, args.out or work_dir):
        console.print(f"wrote {path}")
    for run in failed:
        console.print(f"[red]failed[/]: {run.name}; its output: {run.folder / 'output.txt'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
