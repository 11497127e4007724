"""Finds the configs that come with the package."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_PLACES = (_PACKAGE.parent / "configs", _PACKAGE / "configs", _PACKAGE / ".mim" / "configs")


def config_folder() -> Path:
    """The folder ``configs``, of a checkout or inside the installed package.

    Raises:
        FileNotFoundError: where there is none.
    """
    for place in _PLACES:
        if (place / "_base_" / "small_detector.py").is_file():
            return place
    raise FileNotFoundError(f"the configs of gfl_plugin are missing; expected in one of {', '.join(map(str, _PLACES))}")
