"""Runs one of the installed MMDetection's scripts with the plugin imported first."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path


def run(name: str) -> None:
    """Run MMDetection's ``tools/<name>`` as if it had been called with this process's arguments.

    The plugin comes first because parts of MMDetection cannot be imported before it, with an mmcv without compiled ops.
    """
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout works uninstalled, too
    import mmdet

    import gfl_plugin  # noqa: F401
    from gfl_plugin.runtime.errors import CheckpointError, EmptyDatasetError
    from gfl_plugin.runtime.step_record import NonFiniteError

    package = Path(mmdet.__file__).parent
    places = [package / ".mim" / "tools" / name, package.parent / "tools" / name]
    script = next((place for place in places if place.is_file()), None)
    if script is None:
        sys.exit(f"MMDetection's tools/{name} is not among its files; looked for {', '.join(map(str, places))}")
    program = sys.argv[0]
    try:
        runpy.run_path(str(script), run_name="__main__")
    except (CheckpointError, EmptyDatasetError, NonFiniteError) as error:  # the message says what is wrong
        print(f"{Path(program).name}: {error}", file=sys.stderr)
        sys.exit(2)
    finally:
        sys.argv[0] = program
