"""The ``gfl-plugin`` command.

Each subcommand is a module of :mod:`gfl_plugin.commands` with the name of the command, with ``_`` for ``-``. It has:

- ``SUMMARY``: short description.
- ``EXAMPLE``: a command line that can be pasted into a shell.
- ``add_arguments(parser)``: adds its arguments to an :class:`argparse.ArgumentParser`.
- ``run(arguments) -> int``: runs the command and returns the exit status.
- ``EXPECTED`` (optional): exceptions, in addition to this package's own, whose message is sufficient for the user. The
  command prints it in one line and returns exit status 2. Default: ``ImportError``, ``OSError`` and ``ValueError``.
- ``PASSES_ARGUMENTS`` (optional): True for a command that passes its arguments to a script unchanged;
  they are in ``arguments.arguments``.
- ``HELP_OF_SCRIPT`` (optional): True if ``--help`` also prints the help of the script.

Such a module imports only the standard library; ``run`` imports the other modules. Therefore, help texts take 0.1 s and
need neither PyTorch nor MMDetection.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType

from .runtime.install_advice import MissingPackageError, require_runtime

COMMANDS = (
    "demo",
    "init",
    "train",
    "test",
    "run",
    "swap",
    "ablate",
    "check-data",
    "replay",
    "publish",
    "widen",
    "calibrate",
    "report",
    "show",
    "export",
    "predict",
    "benchmark",
    "check-swaps",
)
SCREEN = """\
Generalized Focal Loss heads for MMDetection. Commands in project order:

 try it          gfl-plugin demo                       GFL and ATSS in 3 min
 use your data   gfl-plugin init DATA_DIR -o my.py     writes a config
 swap a head     gfl-plugin swap mmdet::atss/atss_r50_fpn_1x_coco.py -o my.py
 check the data  gfl-plugin check-data my.py --images
 train           gfl-plugin train my.py                --resume continues a run
 test            gfl-plugin test my.py work_dirs/my/epoch_12.pth
 see its errors  gfl-plugin report my.py CHECKPOINT -o report      writes a page
 see the sides   gfl-plugin show my.py CHECKPOINT IMAGE -o pictures
 calibrate boxes gfl-plugin calibrate my.py CHECKPOINT -o calibration.json
 deploy          gfl-plugin export my.py CHECKPOINT -o model/      writes ONNX
 run ONNX files  gfl-plugin predict --onnx MODEL IMAGE -o found    any toolbox
 debug a NaN     gfl-plugin replay RECORD my.py        repeats a recorded step
 share weights   gfl-plugin publish CHECKPOINT         writes safetensors
 add bins        gfl-plugin widen CHECKPOINT --reg-max 24 -o NEW.pth
 other scripts   gfl-plugin run SCRIPT ARGUMENTS       also MMDetection's tools
 compare heads   gfl-plugin ablate components          trains a study
 for developers  gfl-plugin benchmark,                 gfl-plugin check-swaps

A config, also in _base_, is a file, or a name in this package or MMDetection:
 gfl-plugin train gfl_plugin::gfl/gfl_r50_fpn_1x_coco.py
gfl-plugin COMMAND --help shows the arguments and an example.
"""
_EXPECTED = (ImportError, OSError, ValueError)
_HELP = ("-h", "--help")


def main(words: Sequence[str] | None = None) -> int:
    """Run one subcommand, or print the list of subcommands.

    Args:
        words: the arguments after ``gfl-plugin``; ``sys.argv[1:]`` if not given.

    Returns:
        The exit status; 2 for a wrong command line and for errors that the user can correct.

    Raises:
        SystemExit: if argparse or a script that a command runs raises it.
    """
    words = list(sys.argv[1:] if words is None else words)
    if not words or words[0] in _HELP:
        return _overview()
    name, *rest = words
    if name not in COMMANDS:
        return _failed("gfl-plugin", f"unknown command {name!r}; the commands are: {', '.join(COMMANDS)}")
    command = importlib.import_module(f"gfl_plugin.commands.{name.replace('-', '_')}")
    parser = parser_of(name, command)
    if not _passes(command):
        return _run(parser.prog, command, parser.parse_args(rest))
    if not rest:
        parser.error("no arguments are given")
    if rest[0] in _HELP:
        print(parser.format_help(), flush=True)
        if not getattr(command, "HELP_OF_SCRIPT", False):
            return 0
    return _run(parser.prog, command, argparse.Namespace(arguments=rest))


def parser_of(name: str, command: ModuleType) -> argparse.ArgumentParser:
    """Create the parser of a subcommand.

    Args:
        name: name of the subcommand.
        command: module of the subcommand.

    Returns:
        A parser with its arguments and its example. The description is the docstring of the module without the first
        line.
    """
    details = (command.__doc__ or "").partition("\n")[2].strip()
    description = f"{command.SUMMARY[:1].upper()}{command.SUMMARY[1:]}.\n\n{details}".strip()
    parser = argparse.ArgumentParser(
        prog=f"gfl-plugin {name}",
        description=description,
        epilog=f"example:\n  {command.EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_arguments(parser)
    return parser


def import_package() -> None:
    """Run ``gfl_plugin/__init__.py`` if ``gfl_plugin_cli`` has deferred it.

    Raises:
        MissingPackageError: if PyTorch or MMDetection is not installed.
    """
    package = sys.modules["gfl_plugin"]
    if not hasattr(package, "__version__"):
        package.__spec__.loader.exec_module(package)


def _passes(command: ModuleType) -> bool:
    return getattr(command, "PASSES_ARGUMENTS", False)


def _run(program: str, command: ModuleType, arguments: argparse.Namespace) -> int:
    try:
        import_package()
    except MissingPackageError as error:
        return _failed(program, error)
    with warnings.catch_warnings():
        if not _passes(command):
            warnings.simplefilter("ignore")  # deprecated names that MMDetection and MMEngine use themselves
        try:
            return command.run(arguments)
        except (*_own_errors(), *getattr(command, "EXPECTED", _EXPECTED)) as error:
            return _failed(program, error)


def _overview() -> int:
    print(SCREEN, end="")
    try:
        require_runtime()
    except MissingPackageError as error:
        return _failed("gfl-plugin", error)
    return 0


def _own_errors() -> tuple[type[Exception], ...]:
    from .commands.script_runner import ToolNotFoundError
    from .runtime.config_files import ConfigNotFoundError
    from .runtime.config_text import ConfigTextError
    from .runtime.errors import CheckpointError, EmptyDatasetError
    from .runtime.step_record import NonFiniteError

    return (
        CheckpointError,
        ConfigNotFoundError,
        ConfigTextError,
        EmptyDatasetError,
        MissingPackageError,
        NonFiniteError,
        ToolNotFoundError,
    )


def _failed(program: str, error: object) -> int:
    from .runtime.terminal_text import escape_unprintable

    print(f"{program}: {escape_unprintable(str(error))}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
