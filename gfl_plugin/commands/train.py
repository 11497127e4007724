"""``gfl-plugin train``

This runs MMDetection's own tools/train.py with gfl_plugin imported first, and takes
its flags.
"""

from __future__ import annotations

import argparse

SUMMARY = "train the detector of a config"
EXAMPLE = "gfl-plugin train my_config.py --work-dir work_dirs/first"
EXPECTED = ()  # other errors keep their traceback, as in MMDetection
PASSES_ARGUMENTS = True
HELP_OF_SCRIPT = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Name the arguments for the help text; the script reads them."""
    parser.usage = "gfl-plugin train CONFIG [FLAGS]"


def run(arguments: argparse.Namespace) -> int:
    """Run MMDetection's tools/train.py; see :func:`gfl_plugin.commands.script_runner.run_script`."""
    from gfl_plugin.commands.script_runner import mmdet_tool, run_script

    return run_script(mmdet_tool("train.py"), arguments.arguments)
