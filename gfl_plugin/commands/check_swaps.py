"""``gfl-plugin check-swaps``

Some backbones need compiled mmcv (deformable convolutions) or mmpretrain.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections import Counter
from pathlib import Path

from .swap import HEADS

SUMMARY = "swap the head of every dense detector in MMDetection's configs, build it, train one step and predict"
EXAMPLE = "gfl-plugin check-swaps --only retinanet ssd"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command.

    Args:
        parser: parser of the command.
    """
    parser.add_argument("--head", choices=HEADS, default="gfl", help="new head (default: gfl)")
    parser.add_argument("--only", nargs="+", help="check only configs whose name contains one of these texts")
    parser.add_argument("--out", type=Path, help="write a table of all configs to this Markdown file")


def run(arguments: argparse.Namespace) -> int:
    """Check the configs.

    Args:
        arguments: parsed arguments, see :func:`add_arguments`.

    Returns:
        0; 1 if a config fails that can be built before the swap.

    Raises:
        ValueError: if no config matches ``--only``.
        OSError: if the table cannot be written.
    """
    warnings.simplefilter("ignore")  # deprecated names that MMDetection and MMEngine use themselves

    from ..analysis.progress import output_console, progress_display
    from ..analysis.swap_check import check_all, check_table, dense_configs
    from ..analysis.tables import markdown
    from ..runtime.atomic_files import write_whole

    checks, console = [], output_console()
    with progress_display(console) as display, tempfile.TemporaryDirectory() as folder:
        with display.task("reading MMDetection's configs"):
            configs = dense_configs()
        if arguments.only:
            configs = [one for one in configs if any(part in one[0] for part in arguments.only)]
        if not configs:
            raise ValueError(f"no name of a config contains {' or '.join(arguments.only)}")
        with display.task(configs[0][0], total=len(configs)) as task:
            for check in check_all(configs, Path(folder), arguments.head):
                checks.append(check)
                if check.failure:
                    display.print(f"{check.verdict} {check.name} ({check.head}): {check.failure}")
                elif not display.is_live:
                    display.print(f"done {check.name} ({check.head}), {check.seconds:.1f} s")
                following = configs[min(len(checks), len(configs) - 1)][0]
                task.update(following, completed=len(checks))
    verdicts = Counter(check.verdict for check in checks)
    console.print(f"{len(checks)} configs: " + ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items()))
    if arguments.out:
        write_whole(arguments.out, markdown(check_table(checks)))
        console.print(f"wrote {arguments.out}", markup=False, soft_wrap=True)
    return 1 if verdicts["failed"] else 0
