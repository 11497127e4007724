"""``gfl-plugin check-data``

Annotations are read as they are written; images are opened with --images. For a GFL
head, training images go through the config's own pipeline, blank, to find objects
that no location learns and sides that are longer than the distributions reach.

Mistakes are, for example: more than half of the objects learned by no location; more
than 5 % of the sides too long; a training or validation set without an object of its
classes; num_classes of the head unequal to the number of the training set's classes.
docs/trust.md lists all of them.

The exit status is 1 if there is a mistake, 0 if there is none, and 2 for a file that
cannot be read.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

SUMMARY = "find mistakes in the data of a config before training"
EXAMPLE = "GFL_DATA=/your/BCCD_Dataset gfl-plugin check-data gfl_plugin::bccd/gfl_r18_bccd.py --images"
EXPECTED = (KeyError, OSError, SyntaxError, ValueError)  # SyntaxError: of the config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("config", help="a file, gfl_plugin::family/file.py or mmdet::family/file.py")
    parser.add_argument("--images", action="store_true", help="open every image, to its last byte")
    parser.add_argument("--limit", type=int, default=5000, help="training images that go through the pipeline")
    parser.add_argument("--json", type=Path, help="write the findings to this file")


def run(arguments: argparse.Namespace) -> int:
    """Check the data and print a table per data set; see :func:`gfl_plugin.analysis.data_check.walk.check`."""
    import json
    from dataclasses import asdict

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names may hold what the terminal's encoding does not
    found = _checked(arguments)
    status = _show(found)
    if arguments.json:
        content = {one.name: [asdict(finding) for finding in one.findings] for one in found}
        arguments.json.write_text(json.dumps(content, indent=2) + "\n")
    return status


def _checked(arguments: argparse.Namespace) -> list:
    """The findings per data set; a progress bar is shown on stderr."""
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    from gfl_plugin.runtime.config_files import find_config
    from gfl_plugin.runtime.install_advice import module_or_advice
    from gfl_plugin.runtime.terminal_text import escape_unprintable

    module_or_advice("rich", "demo")
    from rich.console import Console
    from rich.progress import Progress, TextColumn
    from rich.text import Text

    from gfl_plugin.analysis.data_check import walk

    class Bars:
        def note(self, text: str) -> None:
            progress.console.print(Text(escape_unprintable(text)))

        def begin(self, task: str):
            bar = progress.add_task(escape_unprintable(task), total=None)
            return lambda done, total: progress.update(bar, completed=done, total=total)

    cfg = Config.fromfile(find_config(arguments.config))
    init_default_scope(cfg.get("default_scope") or "mmdet")  # new-style configs have None
    task = TextColumn("{task.description}", style="progress.description", markup=False)
    with Progress(task, *Progress.get_default_columns()[1:], console=Console(stderr=True)) as progress:
        return walk.check(cfg, arguments.images, arguments.limit, Bars())


def _show(found: list) -> int:
    """Print a table per data set, and return the exit status."""
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
