"""``gfl-plugin swap``

The new config inherits from the old one. More examples:
  gfl-plugin swap my_fcos.py -o my_fcos_qfl.py --head qfl
  gfl-plugin swap my_atss.py -o my_gfl.py --set reg_max=8 loss_cls.beta=1.5
"""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "write a config that replaces the head of a detector by a GFL head"
EXAMPLE = "gfl-plugin swap mmdet::retinanet/retinanet_r50_fpn_1x_coco.py -o my_retinanet_gfl.py"
EXPECTED = (OSError, ValueError)
HEADS = ("gfl", "gflv2", "best", "qfl")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "base", help="config of a single-stage detector: a file, mmdet::family/file.py or gfl_plugin::family/file.py"
    )
    parser.add_argument("-o", "--out", type=Path, required=True, help="config to write; never overwritten")
    parser.add_argument(
        "--head",
        choices=HEADS,
        default="gfl",
        help="the GFL head, that of GFLV2, the best parts for small data, or the detector's own head with QFL",
    )
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings of the new head")


def run(arguments: argparse.Namespace) -> int:
    """Write the config, and print the chosen range; see :func:`gfl_plugin.projects.swap_head.swap_config_file`.

    Args:
        arguments: parsed arguments, see :func:`add_arguments`.

    Returns:
        0.
    """
    from gfl_plugin.projects.swap_head import range_of_swap, swap_config_file

    overrides = _nested(_settings(arguments.set))
    print(f"wrote {swap_config_file(arguments.base, arguments.out, arguments.head, **overrides)}")
    chosen = range_of_swap(arguments.base, arguments.head, **overrides)
    if chosen is not None:
        print(chosen.reason)
    return 0


def _settings(words: list[str]) -> dict:
    """Parse ``key=value`` words like MMDetection's ``--cfg-options``."""
    from mmengine.config import DictAction

    for word in words:
        if "=" not in word:
            raise ValueError(f"--set {word} has no value; write {word}=VALUE")
    parser = argparse.ArgumentParser(prog="gfl-plugin swap", add_help=False)
    parser.add_argument("--set", nargs="+", action=DictAction, default={})
    return parser.parse_args(["--set", *words] if words else []).set


def _nested(settings: dict) -> dict:
    from mmengine.config import ConfigDict

    nested: dict = {}
    for key, value in settings.items():
        place = nested
        *path, last = key.split(".")
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return ConfigDict(nested)
