"""Entry point of the ``gfl-plugin`` command.

It is outside the package because importing ``gfl_plugin`` imports PyTorch and MMDetection, which takes seconds, and
fails if they are not installed. :func:`main` makes the package importable without running its ``__init__.py``;
:func:`gfl_plugin.cli.main` runs ``__init__.py`` before it starts a command, so that help texts do not need it.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec, module_from_spec


def main(command: str | None = None) -> int:
    """Run the command line of this process.

    Args:
        command: subcommand to run with the arguments in ``sys.argv``, for ``tools/*.py``; None if ``sys.argv`` contains
            the subcommand.

    Returns:
        The exit status.
    """
    if "gfl_plugin" not in sys.modules:
        sys.modules["gfl_plugin"] = module_from_spec(find_spec("gfl_plugin"))
    from gfl_plugin import cli

    return cli.main(sys.argv[1:] if command is None else [command, *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
