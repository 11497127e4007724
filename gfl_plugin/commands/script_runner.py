"""Runs a Python script in this process, with the plugin imported first.

With mmcv-lite, some modules of MMDetection cannot be imported before the plugin. MMDetection's own scripts import them
first.
"""

from __future__ import annotations

import importlib.util
import os
import re
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from gfl_plugin.runtime.config_files import find_config

_SCRIPT = "GFL_PLUGIN_SCRIPT"  # environment variable with the path of the script, for its child processes
_NAMED_CONFIG = re.compile(r"(gfl_plugin|mmdet)::[\w./-]+\.py")


class ToolNotFoundError(FileNotFoundError):
    """Raised if a script is neither a file nor a tool of MMDetection; the message lists the tools in one line."""


def run_script(script: Path, arguments: Sequence[str]) -> int:
    """Run a script as ``python SCRIPT ARGUMENTS`` does.

    Args:
        script: path of the script.
        arguments: ``sys.argv[1:]`` of the script. The name of a config, such as ``gfl_plugin::gfl/x.py``, is replaced
            by its file, since MMDetection's scripts accept only files.

    Returns:
        0, if the script ends without ``sys.exit``.

    Raises:
        ConfigNotFoundError: if an argument names a config that does not exist.
        SystemExit: with the script's exit status.
        Exception: any exception of the script.
    """
    words = [str(find_config(word)) if _NAMED_CONFIG.fullmatch(word) else word for word in arguments]
    main = ModuleType("__main__")
    main.__file__ = str(script)
    # A process started by multiprocessing's "spawn" imports the module of this name instead of the script.
    main.__spec__ = importlib.util.find_spec("gfl_plugin.commands.script_runner")
    os.environ[_SCRIPT] = str(script.resolve())
    saved = sys.modules["__main__"], sys.argv, sys.path
    sys.modules["__main__"], sys.argv = main, [str(script), *words]
    sys.path = [str(script.resolve().parent), *sys.path]
    try:
        exec(compile(script.read_bytes(), str(script), "exec"), main.__dict__)
    finally:
        sys.modules["__main__"], sys.argv, sys.path = saved
    return 0


def tools_folder() -> Path | None:
    """Locate the folder of MMDetection's tools in its wheel or checkout.

    Returns:
        The folder; None if there is none.
    """
    import mmdet

    package = Path(mmdet.__file__).parent
    return next((place for place in (package / ".mim" / "tools", package.parent / "tools") if place.is_dir()), None)


def mmdet_tool(name: str) -> Path:
    """Locate a tool of MMDetection.

    Args:
        name: path of the tool relative to the folder ``tools``, with or without ``tools/``.

    Returns:
        The path of its file.

    Raises:
        ToolNotFoundError: if there is no such tool; the message lists the tools.
    """
    folder = tools_folder()
    if folder is None:
        raise ToolNotFoundError(f"{name} not found: the installed MMDetection has no folder of tools")
    path = folder / name.removeprefix("tools/")
    if path.suffix != ".py" or not path.is_file():
        names = ", ".join(sorted(one.relative_to(folder).as_posix() for one in folder.rglob("*.py")))
        raise ToolNotFoundError(f"{name} is neither a file nor one of MMDetection's tools, which are: {names}")
    return path


if __name__ == "__mp_main__" and _SCRIPT in os.environ:  # functions of the script are looked up here
    globals().update(runpy.run_path(os.environ[_SCRIPT], run_name="__mp_main__"))
