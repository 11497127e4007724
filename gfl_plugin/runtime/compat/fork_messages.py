"""Messages that the fork of MMDetection prints when it is imported.

Problem: onedl-mmdetection prints ``Could not import OneDL. Skipping OneDL datasets.`` twice to stdout if the package
    ``onedl`` is missing. The stdout of a script is its result.
Versions: onedl-mmdetection <= 3.5.1.
Change: its datasets are imported here, without these lines.
Not needed when: onedl-mmdetection does not print at level DEBUG.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import sys
from pathlib import Path

_MESSAGE = "Could not import OneDL"


def close() -> str:
    """Import the datasets of the fork without its messages.

    Returns:
        What was changed; "" for MMDetection itself, or if the datasets are imported already.
    """
    if "mmdet.datasets" in sys.modules or not _has_optional_datasets():
        return ""
    import_without(_MESSAGE, "mmdet.datasets")
    return "the fork of MMDetection does not print that its own datasets are missing"


def _has_optional_datasets() -> bool:
    """Whether the installed MMDetection has datasets that need the package ``onedl``, which is missing."""
    spec = importlib.util.find_spec("mmdet")
    folders = (spec.submodule_search_locations or []) if spec else []
    optional = any(Path(folder, "datasets", "onedl.py").is_file() for folder in folders)
    return optional and importlib.util.find_spec("onedl") is None


def import_without(message: str, module: str) -> None:
    """Import a module, and print what it prints except for the lines that contain a message.

    Args:
        message: part of the lines that are dropped.
        module: name of the module.
    """
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            importlib.import_module(module)
    finally:
        sys.stdout.write("".join(line for line in printed.getvalue().splitlines(True) if message not in line))
