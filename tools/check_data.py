#!/usr/bin/env python3
"""Look for what is wrong with a config's data before training does.

Annotations are read as they are written, images where --images is given. For a GFL head training images go through the
config's own pipeline, blank, to see which objects no location learns and which sides are longer than the distributions
reach. The exit status is 1 where there is a mistake, 0 where there is none, 2 for a wrong config.

Example: GFL_DATA=/folder/above/bccd python tools/check_data.py configs/bccd/gfl_r18_bccd.py --images
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from dataclasses import asdict
from pathlib import Path

KINDS = {"CocoDataset": "coco", "XMLDataset": "voc", "VOCDataset": "voc"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--images", action="store_true", help="open every image, to its last byte")
    parser.add_argument("--limit", type=int, default=5000, help="training images that go through the pipeline")
    parser.add_argument("--json", type=Path, help="write the findings to this file")
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # MMDetection's and MMEngine's notes on their own deprecated names
    from rich.console import Console

    try:
        found = check(args, Console(stderr=True))
    except (ValueError, OSError, KeyError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    if args.json:
        content = {name: [asdict(one) for one in part] for name, part in found.items()}
        args.json.write_text(json.dumps(content, indent=2) + "\n")
    return show(found, Console())


def check(args: argparse.Namespace, console) -> dict[str, list]:
    from mmengine.config import Config
    from mmengine.registry import init_default_scope
    from rich.progress import Progress

    from gfl_plugin.analysis.data_check import annotations, findings, training_view

    cfg = Config.fromfile(args.config)
    init_default_scope(cfg.get("default_scope", "mmdet"))
    head = training_view.gfl_head(cfg)
    if head is None:
        console.print("the head is no GFLHead with ATSS or FCOS assignment: what it can learn is not looked at")
    found: dict[str, list] = {}
    with Progress(console=console) as progress:
        for split in ("train", "val", "test"):
            loader = cfg.get(f"{split}_dataloader")
            for number, dataset in enumerate(annotations.leaves(loader.dataset) if loader else ()):
                kind = KINDS.get(str(dataset.type).split(".")[-1])
                name = f"{split} {number + 1}" if number else split
                if kind is None:
                    console.print(f"{name}: a {dataset.type} is not read; known: {', '.join(KINDS)}")
                    continue
                known = annotations.read(dataset, kind)
                own = findings.of_annotations(known, (dataset.get("metainfo") or {}).get("classes", ()))
                own += findings.of_files(known.images, args.images, reporter(progress, f"{name}: files"))
                if split == "train" and head is not None:
                    report = reporter(progress, f"{name}: what GFL learns")
                    seen = training_view.look(cfg, dataset, head, args.limit, report)
                    own += training_view.findings_of(seen, head)
                found[f"{name}: {known.source}"] = own
    return found


def reporter(progress, description: str):
    """A bar, and the function that moves it."""
    task = progress.add_task(description, total=None)
    return lambda done, total: progress.update(task, completed=done, total=total)


def show(found: dict[str, list], console) -> int:
    """Print a table a data set; the exit status."""
    from rich.table import Table

    from gfl_plugin.analysis.data_check.findings import serious

    for name, part in found.items():
        if not part:
            console.print(f"[green]{name}: nothing found")
            continue
        table = Table("", "what", "how many", "for example", "what to do", title=name, title_justify="left")
        for one in part:
            mark = "[red]wrong" if one.serious else "[yellow]look"
            cells = (mark, one.kind, f"{one.count} of {one.of}", "\n".join(one.examples), one.advice)
            table.add_row(*cells, end_section=True)
        console.print(table)
    return int(any(serious(part) for part in found.values()))


if __name__ == "__main__":
    sys.exit(main())
