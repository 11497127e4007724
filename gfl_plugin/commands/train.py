"""``gfl-plugin train``

This runs MMDetection's own tools/train.py after importing gfl_plugin, and accepts its
flags.
"""

from __future__ import annotations

import argparse

SUMMARY = "train the detector of a config"
EXAMPLE = "gfl-plugin train my_config.py --work-dir work_dirs/first"
EXPECTED = ()  # other errors print their traceback, as in MMDetection
PASSES_ARGUMENTS = True
HELP_OF_SCRIPT = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments in the help text; the script parses them.

    Args:
        parser: parser of the command.
    """
    parser.usage = "gfl-plugin train CONFIG [FLAGS]"


def run(arguments: argparse.Namespace) -> int:
    """Run MMDetection's tools/train.py; see :func:`gfl_plugin.commands.script_runner.run_script`.

    Args:
        arguments: ``arguments.arguments`` are the arguments of the script.

    Returns:
        The exit status.
    """
    from gfl_plugin.commands.script_runner import mmdet_tool, run_script

    return run_script(mmdet_tool("train.py"), arguments.arguments)
