"""``gfl-plugin check-data``

Annotations are checked before MMDetection filters them; --images also opens the images.
For a GFL head, the training pipeline of the config is run with blank images, to find
objects that are assigned to no location, and sides beyond the last bin. A table compares
how many sides the head's bins clip with bins for which it is at most 0.1 % of every
level, and the lines to write into the config follow.

Errors are, for example: more than half of the objects are assigned to no location; more
than 5 % of the sides are beyond the last bin; a training or validation set has no object
of its classes; num_classes of the head differs from the number of classes of the
training set. docs/trust.md lists all of them.

The exit status is 1 if there is an error, 0 if there is none, and 2 if a file cannot
be read.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

SUMMARY = "find errors in the data of a config before training"
EXAMPLE = "GFL_DATA=/your/BCCD_Dataset gfl-plugin check-data gfl_plugin::bccd/gfl_r18_bccd.py --images"
EXPECTED = (KeyError, OSError, SyntaxError, ValueError)  # SyntaxError: in the config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command.

    Args:
        parser: parser of the command.
    """
    parser.add_argument("config", help="a file, gfl_plugin::family/file.py or mmdet::family/file.py")
    parser.add_argument("--images", action="store_true", help="open and decode every image")
    parser.add_argument(
        "--limit",
        type=int,
        default=5000,
        help="number of training images for which targets are computed (default: 5000)",
    )
    parser.add_argument("--json", type=Path, help="write the findings to this file")


def run(arguments: argparse.Namespace) -> int:
    """Check the data and print one table per dataset; see :func:`gfl_plugin.analysis.data_check.walk.check`.

    Args:
        arguments: parsed arguments, see :func:`add_arguments`.

    Returns:
        The exit status: 1 if there is an error in the data, else 0.
    """
    import json
    from dataclasses import asdict

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(
                errors="backslashreplace"
            )  # names may contain characters that the terminal's encoding lacks
    found = check_config(arguments.config, arguments.images, arguments.limit)
    status = show(found)
    if arguments.json:
        content = {one.name: [asdict(finding) for finding in one.findings] for one in found}
        arguments.json.write_text(json.dumps(content, indent=2) + "\n")
    return status


def check_config(config: str, images: bool, limit: int) -> list:
    """Check the data of a config; a progress bar is shown on stderr.

    Args:
        config: a file or a name of a config.
        images: whether to open and decode every image.
        limit: number of training images for which targets are computed.

    Returns:
        A :class:`gfl_plugin.analysis.data_check.walk.DatasetReport` per dataset.
    """
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    from gfl_plugin.runtime.config_files import find_config
    from gfl_plugin.runtime.install_advice import module_or_advice
    from gfl_plugin.runtime.terminal_text import escape_unprintable

    module_or_advice("rich", "init")
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

    cfg = Config.fromfile(find_config(config))
    init_default_scope(cfg.get("default_scope") or "mmdet")  # new-style configs have None
    task = TextColumn("{task.description}", style="progress.description", markup=False)
    with Progress(task, *Progress.get_default_columns()[1:], console=Console(stderr=True)) as progress:
        return walk.check(cfg, images, limit, Bars())


def show(found: list, bins: bool = True) -> int:
    """Print the findings of each dataset.

    Args:
        found: see :func:`check_config`.
        bins: whether to print how many sides the bins of a head clip.

    Returns:
        The exit status.
    """
    from rich.console import Console

    from gfl_plugin.analysis.data_check.findings import serious
    from gfl_plugin.runtime.terminal_text import escape_unprintable

    console = Console()
    for checked in found:
        name = escape_unprintable(checked.name)
        _show_findings(console, name, checked.findings)
        if bins and checked.bins is not None:
            _show_bins(console, name, checked.bins)
    return int(any(serious(checked.findings) for checked in found))


def _show_findings(console, name: str, findings: tuple) -> None:
    """Print a table with one row per finding."""
    from rich.table import Table
    from rich.text import Text

    from gfl_plugin.runtime.terminal_text import escape_unprintable

    if not findings:
        console.print(Text(f"{name}: nothing found", style="green"))
        return
    # Text does not interpret markup in names, such as [/] and :smile:.
    table = Table("", "finding", "count", title=Text(name), title_justify="left")
    table.add_column("examples", overflow="fold")  # names are not shortened
    table.add_column("advice", overflow="fold")
    for one in findings:
        mark = Text("error", style="red") if one.serious else Text("info", style="yellow")
        examples = Text("\n".join(map(escape_unprintable, one.examples)))
        table.add_row(mark, one.kind, f"{one.count} of {one.of}", examples, Text(one.advice), end_section=True)
    console.print(table)


def _show_bins(console, name: str, coverage) -> None:
    """Print the share of clipped sides of the config's bins and of the proposals, and the lines of each proposal."""
    from gfl_plugin.analysis.data_check.bin_proposals import MAX_CLIPPED
    from gfl_plugin.analysis.tables import print_table

    title = f"{name}: sides beyond the last bin; proposals clip at most {MAX_CLIPPED:.1%} of every level"
    print_table(console, coverage.table, title)
    for proposal, lines in coverage.lines:
        console.print(f"{proposal} bins:", highlight=False)
        console.print(lines, markup=False, highlight=False, soft_wrap=True)  # unbroken, to be copied
