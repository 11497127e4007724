"""Run a Python script with the plugin imported first.

    python -m gfl_plugin.runtime.run_script SCRIPT [ARGUMENTS]

SCRIPT is a file, or the name of one of MMDetection's tools (test.py, analysis_tools/confusion_matrix.py); a file comes
first. Parts of MMDetection cannot be imported before the plugin where mmcv has no compiled ops. The arguments and the
exit status are the script's. A checkpoint that is refused or damaged, and a loss that is not finite, are one line and
exit status 2.

Example: python -m gfl_plugin.runtime.run_script analysis_tools/browse_dataset.py CONFIG --not-show --output-dir images
"""

from __future__ import annotations

import importlib.util
import os
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import mmdet

import gfl_plugin  # noqa: F401  (the reason of this file)
from gfl_plugin.runtime.errors import CheckpointError, EmptyDatasetError
from gfl_plugin.runtime.install_advice import MissingPackageError
from gfl_plugin.runtime.step_record import NonFiniteError

_SCRIPT = "GFL_PLUGIN_SCRIPT"  # environment variable: the script that runs, for processes that it starts


def run(script: Path, arguments: Sequence[str]) -> None:
    """Run a script as ``python SCRIPT ARGUMENTS`` does, in this process.

    Args:
        script: the file.
        arguments: what it finds in ``sys.argv[1:]``.

    Raises:
        SystemExit: with the script's exit status; with 2 after an error whose message says all there is to say.
    """
    main = ModuleType("__main__")
    main.__file__ = str(script)
    # A process started by multiprocessing's "spawn" imports the module of this name in place of the script.
    main.__spec__ = importlib.util.find_spec("gfl_plugin.runtime.run_script")
    os.environ[_SCRIPT] = str(script.resolve())
    saved = sys.modules["__main__"], sys.argv, sys.path
    sys.modules["__main__"], sys.argv = main, [str(script), *arguments]
    sys.path = [str(script.resolve().parent), *sys.path]
    try:
        exec(compile(script.read_bytes(), str(script), "exec"), main.__dict__)
    except (CheckpointError, EmptyDatasetError, NonFiniteError, MissingPackageError) as error:
        print(f"{script.name}: {error}", file=sys.stderr)
        sys.exit(2)
    finally:
        sys.modules["__main__"], sys.argv, sys.path = saved


def tools_folder() -> Path | None:
    """The folder of MMDetection's tools: in its wheel, or in its checkout."""
    package = Path(mmdet.__file__).parent
    return next((place for place in (package / ".mim" / "tools", package.parent / "tools") if place.is_dir()), None)


def mmdet_tool(name: str) -> Path:
    """The file of one of MMDetection's tools.

    Args:
        name: below its folder ``tools``, with or without that folder.

    Raises:
        FileNotFoundError: where there is none; the message lists those that there are.
    """
    folder = tools_folder()
    if folder is None:
        raise FileNotFoundError(f"the installed MMDetection has no folder of tools, so there is no {name}")
    path = folder / name.removeprefix("tools/")
    if path.suffix != ".py" or not path.is_file():
        names = ", ".join(sorted(one.relative_to(folder).as_posix() for one in folder.rglob("*.py")))
        raise FileNotFoundError(f"{name} is neither a file nor one of MMDetection's tools, which are: {names}")
    return path


def run_mmdet_tool(name: str) -> None:
    """Run one of MMDetection's tools with this process's arguments; see :func:`run`."""
    run(_found(name, Path(sys.argv[0]).name), sys.argv[1:])


def _found(name: str, program: str) -> Path:
    """One of MMDetection's tools; where there is none, the process ends with a line that lists them."""
    try:
        return mmdet_tool(name)
    except FileNotFoundError as error:
        print(f"{program}: {error}", file=sys.stderr)
        sys.exit(2)


def main() -> None:
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    if sys.argv[1] in ("-h", "--help"):
        print(__doc__)
        return
    name, *arguments = sys.argv[1:]
    run(Path(name) if Path(name).is_file() else _found(name, "gfl_plugin.runtime.run_script"), arguments)


if __name__ == "__main__":
    main()
elif __name__ == "__mp_main__" and _SCRIPT in os.environ:  # functions of the script are looked up here
    globals().update(runpy.run_path(os.environ[_SCRIPT], run_name="__mp_main__"))
