"""``gfl-plugin run``

SCRIPT is a file, or the name of a tool of MMDetection, such as
analysis_tools/confusion_matrix.py; the error for an unknown name lists them. Arguments
and exit status are those of the script. For a rejected or damaged checkpoint and for a
non-finite loss, the command prints one line and returns exit status 2.
"""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "run a Python script with gfl_plugin imported first"
EXAMPLE = "gfl-plugin run analysis_tools/browse_dataset.py my_config.py --not-show --output-dir images"
EXPECTED = ()  # other errors print their traceback, as without this command
PASSES_ARGUMENTS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments in the help text; the script parses them.

    Args:
        parser: parser of the command.
    """
    parser.usage = "gfl-plugin run SCRIPT [ARGUMENTS]"


def run(arguments: argparse.Namespace) -> int:
    """Run the script; see :func:`gfl_plugin.commands.script_runner.run_script`.

    Args:
        arguments: ``arguments.arguments`` are the script and its arguments.

    Returns:
        The exit status.
    """
    from gfl_plugin.commands.script_runner import mmdet_tool, run_script

    name, *rest = arguments.arguments
    return run_script(Path(name) if Path(name).is_file() else mmdet_tool(name), rest)
