"""``gfl-plugin run``

SCRIPT is a file, or else the name of one of MMDetection's tools, such as
analysis_tools/confusion_matrix.py; a wrong name lists them. Arguments and exit
status are the script's. A checkpoint that is refused or damaged, and a loss that is
not finite, end in one line and exit status 2.
"""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "run a Python script with gfl_plugin imported first"
EXAMPLE = "gfl-plugin run analysis_tools/browse_dataset.py my_config.py --not-show --output-dir images"
EXPECTED = ()  # other errors keep their traceback, as without this command
PASSES_ARGUMENTS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Name the arguments for the help text; the script reads its own."""
    parser.usage = "gfl-plugin run SCRIPT [ARGUMENTS]"


def run(arguments: argparse.Namespace) -> int:
    """Run the script; see :func:`gfl_plugin.commands.script_runner.run_script`."""
    from gfl_plugin.commands.script_runner import mmdet_tool, run_script

    name, *rest = arguments.arguments
    return run_script(Path(name) if Path(name).is_file() else mmdet_tool(name), rest)
