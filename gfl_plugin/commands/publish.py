"""``gfl-plugin publish``

The file also contains config, classes and a hash, and no executable code. MMDetection's
scripts load it like a checkpoint if the config imports gfl_plugin.
"""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "write the weights of a checkpoint as safetensors"
EXAMPLE = "gfl-plugin publish work_dirs/my_config/epoch_12.pth --out released/"
EXPECTED = (ImportError, OSError)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command.

    Args:
        parser: parser of the command.
    """
    parser.add_argument("checkpoint", type=Path, help="an MMEngine checkpoint, or a dict of tensors")
    parser.add_argument("--out", type=Path, help="folder for the file (default: folder of the checkpoint)")
    parser.add_argument("--config", help="config to store instead of the one in the checkpoint")


def run(arguments: argparse.Namespace) -> int:
    """Write the file; see :func:`gfl_plugin.runtime.publish.publish`.

    Args:
        arguments: parsed arguments, see :func:`add_arguments`.

    Returns:
        0.
    """
    from mmengine.config import Config

    from gfl_plugin.runtime.config_files import find_config
    from gfl_plugin.runtime.publish import publish

    config = Config.fromfile(find_config(arguments.config)) if arguments.config else None
    print(f"wrote {publish(arguments.checkpoint, arguments.out, config)}")
    return 0
