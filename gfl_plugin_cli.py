"""Entry point of the ``gfl-plugin`` command.

It lies outside the package because importing ``gfl_plugin`` imports PyTorch and MMDetection, which takes seconds, and
which fails where they are not installed. :func:`main` makes the package's folder importable without running its
``__init__.py``; :func:`gfl_plugin.cli.main` runs that before it starts a command, so help texts need none of it.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec, module_from_spec


def main(command: str | None = None) -> int:
    """Run the command line of this process.

    Args:
        command: subcommand that ``sys.argv`` does not name, for ``tools/*.py``.

    Returns:
        The exit status.
    """
    if "gfl_plugin" not in sys.modules:
        sys.modules["gfl_plugin"] = module_from_spec(find_spec("gfl_plugin"))
    from gfl_plugin import cli

    return cli.main(sys.argv[1:] if command is None else [command, *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
