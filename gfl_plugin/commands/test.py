"""``gfl-plugin test``

This runs MMDetection's own tools/test.py after importing gfl_plugin, and accepts its
flags.
"""

from __future__ import annotations

import argparse

SUMMARY = "evaluate a checkpoint on the test data of a config"
EXAMPLE = "gfl-plugin test my_config.py work_dirs/my_config/epoch_12.pth"
EXPECTED = ()  # other errors print their traceback, as in MMDetection
PASSES_ARGUMENTS = True
HELP_OF_SCRIPT = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments in the help text; the script parses them.

    Args:
        parser: parser of the command.
    """
    parser.usage = "gfl-plugin test CONFIG CHECKPOINT [FLAGS]"


def run(arguments: argparse.Namespace) -> int:
    """Run MMDetection's tools/test.py; see :func:`gfl_plugin.commands.script_runner.run_script`.

    Args:
        arguments: ``arguments.arguments`` are the arguments of the script.

    Returns:
        The exit status.
    """
    from gfl_plugin.commands.script_runner import mmdet_tool, run_script

    return run_script(mmdet_tool("test.py"), arguments.arguments)
