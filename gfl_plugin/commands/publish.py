"""``gfl-plugin publish``

The file also holds config, classes and a hash, and nothing that can be run.
MMDetection's scripts load it like any checkpoint if the config imports gfl_plugin.
"""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "write the weights of a checkpoint as safetensors"
EXAMPLE = "gfl-plugin publish work_dirs/my_config/epoch_12.pth --out released/"
EXPECTED = (ImportError, OSError)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("checkpoint", type=Path, help="a checkpoint of MMEngine, or a dict of tensors")
    parser.add_argument("--out", type=Path, help="folder to write to (default: the checkpoint's)")
    parser.add_argument("--config", help="config to store, if the checkpoint has none or you want another")


def run(arguments: argparse.Namespace) -> int:
    """Write the file; see :func:`gfl_plugin.runtime.publish.publish`."""
    from mmengine.config import Config

    from gfl_plugin.runtime.config_files import find_config
    from gfl_plugin.runtime.publish import publish

    config = Config.fromfile(find_config(arguments.config)) if arguments.config else None
    print(f"wrote {publish(arguments.checkpoint, arguments.out, config)}")
    return 0
