#!/usr/bin/env python3
"""Look for what is wrong with a config's data before training does.

Annotations are read as they are written, images where --images is given. For a GFL head training images go through the
config's own pipeline, blank, to see which objects no location learns and which sides are longer than the distributions
reach. More than half of the objects, or more than 5 % of the sides, are a mistake; so are a training or validation set
without an object of its classes, and a head whose num_classes is not the number of the training set's classes.
docs/trust.md lists all mistakes.

The exit status is 1 where there is a mistake, 0 where there is none, 2 for a file that cannot be read.

Example: GFL_DATA=/your/BCCD_Dataset python tools/check_data.py configs/bccd/gfl_r18_bccd.py --images
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import warnings
from dataclasses import asdict
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--images", action="store_true", help="open every image, to its last byte")
    parser.add_argument("--limit", type=int, default=5000, help="training images that go through the pipeline")
    parser.add_argument("--json", type=Path, help="write the findings to this file")
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # MMDetection's and MMEngine's notes on their own deprecated names
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names may hold what the terminal's encoding does not
    from gfl_plugin.runtime.terminal_text import escape_unprintable

    try:
        found = check(args)
        status = show(found)
        if args.json:
            content = {one.name: [asdict(finding) for finding in one.findings] for one in found}
            args.json.write_text(json.dumps(content, indent=2) + "\n")
    except (ValueError, OSError, KeyError, SyntaxError) as error:  # SyntaxError: of the config
        print(f"{parser.prog}: {escape_unprintable(str(error))}", file=sys.stderr)
        return 2
    return status


def check(args: argparse.Namespace) -> list:
    """What was found, under a progress bar."""
    from mmengine.config import Config
    from mmengine.registry import init_default_scope
    from rich.console import Console
    from rich.progress import Progress, TextColumn
    from rich.text import Text

    from gfl_plugin.analysis.data_check import walk
    from gfl_plugin.runtime.terminal_text import escape_unprintable

    class Bars:
        def note(self, text: str) -> None:
            progress.console.print(Text(escape_unprintable(text)))

        def begin(self, task: str):
            bar = progress.add_task(escape_unprintable(task), total=None)
            return lambda done, total: progress.update(bar, completed=done, total=total)

    cfg = Config.fromfile(args.config)
    init_default_scope(cfg.get("default_scope") or "mmdet")  # new-style configs have None
    task = TextColumn("{task.description}", style="progress.description", markup=False)
    with Progress(task, *Progress.get_default_columns()[1:], console=Console(stderr=True)) as progress:
        return walk.check(cfg, args.images, args.limit, Bars())


def show(found: list) -> int:
    """Print a table a data set; the exit status."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from gfl_plugin.analysis.data_check.findings import serious
    from gfl_plugin.runtime.terminal_text import escape_unprintable

    console = Console()
    for checked in found:
        name = escape_unprintable(checked.name)
        if not checked.findings:
            console.print(Text(f"{name}: nothing found", style="green"))
            continue
        # Names go into Text, which takes markup such as [/] and :smile: as it is written.
        table = Table("", "what", "how many", title=Text(name), title_justify="left")
        table.add_column("for example", overflow="fold")  # names are shown whole
        table.add_column("what to do", overflow="fold")
        for one in checked.findings:
            mark = Text("wrong", style="red") if one.serious else Text("look", style="yellow")
            examples = Text("\n".join(map(escape_unprintable, one.examples)))
            table.add_row(mark, one.kind, f"{one.count} of {one.of}", examples, Text(one.advice), end_section=True)
        console.print(table)
    return int(any(serious(checked.findings) for checked in found))


if __name__ == "__main__":
    sys.exit(main())
