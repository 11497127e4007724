"""``gfl-plugin widen``

The new head has the old bins and more. Its class scores stay the same, its boxes to
0.001 px, and it can be trained on: for objects larger than the old last bin, or with a
finer spacing. More examples:
  gfl-plugin widen epoch_12.pth -o finer.pth --reg-max 32 --step 0.5
  gfl-plugin widen epoch_12.pth -o negative.pth --reg-max 18 --first=-2
  gfl-plugin widen epoch_12.pth -o uneven.pth --add 20,24,32
The new bins must contain the old ones; otherwise the error names bins that do.
"""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "add bins to the GFL head of a checkpoint without changing its outputs"
EXAMPLE = "gfl-plugin widen work_dirs/my_config/epoch_12.pth --reg-max 24 -o wide.pth"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command.

    Args:
        parser: parser of the command.
    """
    parser.add_argument("checkpoint", type=Path, help="an MMEngine checkpoint, or a dict of tensors")
    parser.add_argument("-o", "--out", type=Path, required=True, help="checkpoint to write; never overwritten")
    parser.add_argument("--reg-max", type=int, metavar="N", help="index of the last new bin")
    parser.add_argument("--first", type=float, help="first new bin, in strides (default: the old one)")
    parser.add_argument("--step", type=float, help="spacing of the new bins, in strides (default: the old one)")
    parser.add_argument("--bins", type=_numbers, metavar="LIST", help="all new bins, such as 0,1,2,4,8")
    parser.add_argument("--add", type=_numbers, metavar="LIST", help="bins to add to the old ones, such as 20,24,32")
    parser.add_argument("--config", help="config of the checkpoint's training (default: the one in the checkpoint)")


def run(arguments: argparse.Namespace) -> int:
    """Write the checkpoint; see :func:`gfl_plugin.projects.widen_checkpoint.widen_checkpoint`.

    Args:
        arguments: parsed arguments, see :func:`add_arguments`.

    Returns:
        0.
    """
    from ..analysis.progress import output_console
    from ..analysis.tables import Column, Table, print_table
    from ..projects.config_writer import as_code
    from ..projects.widen_checkpoint import widen_checkpoint
    from ..projects.wider_bins import show
    from ..runtime.terminal_text import escape_unprintable

    request = {name: getattr(arguments, name) for name in ("reg_max", "first", "step", "bins", "add")}
    written = widen_checkpoint(arguments.checkpoint, arguments.out, arguments.config, **request)
    console = output_console()
    columns = (Column("level"), Column("stride"), Column("new logits"), Column("boxes change by less than"))
    for head in written.heads:
        rows = [
            (str(level), str(stride), f"{offset:.1f}", f"{bound:.1e} px")
            for level, (stride, offset, bound) in enumerate(zip(written.strides, head.offsets, head.bounds))
        ]
        title = f"{head.prefix or 'head'}: {len(head.old_bins)} bins {show(head.old_bins)}, now {len(head.new_bins)} "
        print_table(console, Table(columns, tuple(rows)), f"{title}{show(head.new_bins)}")
    for note in written.notes:
        print(escape_unprintable(note))
    print(f"wrote {written.path}. To train on, write into your config:")
    print(f"model = {as_code(dict(bbox_head=written.settings))}")
    print(f"load_from = {as_code(str(written.path))}")
    return 0


def _numbers(text: str) -> list[float]:
    try:
        return [float(word) for word in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers such as 0,1,2,4,8") from error
