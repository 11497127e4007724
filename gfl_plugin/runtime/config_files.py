"""Configs by name: ``gfl_plugin::gfl/gfl_r50_fpn_1x_coco.py`` is a file of this package, wherever that is installed.

Imports the standard library only.
"""

from __future__ import annotations

import difflib
import importlib.util
from pathlib import Path

from .install_advice import checkout

OURS = "gfl_plugin::"
_MMDETS = "mmdet::"


class ConfigNotFoundError(FileNotFoundError):
    """A config that does not exist; the message is one line with what can be named."""


def config_folder() -> Path:
    """The folder of this package's configs: ``configs`` in a checkout, ``gfl_plugin/.mim/configs`` in a wheel.

    MMEngine looks for a package's configs in ``.mim``; a wheel has them there, an editable install has not.
    """
    folder = checkout()
    return folder / "configs" if folder else Path(__file__).resolve().parents[1] / ".mim" / "configs"


def find_config(name: str | Path) -> Path:
    """The file of a config.

    Args:
        name: ``gfl_plugin::family/file.py``, ``mmdet::family/file.py``, or a file.

    Returns:
        The file; it exists.

    Raises:
        ConfigNotFoundError: if there is none; the message lists similar names, or what can be named.
    """
    text = str(name)
    if text.startswith(OURS):
        return _in(config_folder(), text.removeprefix(OURS), OURS)
    if text.startswith(_MMDETS):
        spec = importlib.util.find_spec("mmdet")
        if spec is None or spec.origin is None:
            raise ConfigNotFoundError(f"{text}: MMDetection is not installed")
        return _in(Path(spec.origin).parent / ".mim" / "configs", text.removeprefix(_MMDETS), _MMDETS)
    path = Path(text)
    if not path.is_file():
        raise ConfigNotFoundError(
            f"config not found: {text}. Name a file, one of this package ({OURS}family/file.py) or one of MMDetection "
            f"({_MMDETS}family/file.py)"
        )
    return path


def _in(folder: Path, name: str, prefix: str) -> Path:
    path = folder / name
    if path.is_file():
        return path
    names = [one.relative_to(folder).as_posix() for one in sorted(folder.rglob("*.py"))]
    near = difflib.get_close_matches(name, names, n=3)
    families = ", ".join(sorted({one.split("/")[0] for one in names if not one.startswith("_")}))
    hint = f"similar ones: {', '.join(prefix + one for one in near)}" if near else f"its families: {families}"
    raise ConfigNotFoundError(f"config not found: {prefix}{name}; {hint}")
