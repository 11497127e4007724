"""Writes settings as the Python text of a config."""

from __future__ import annotations

import json
import keyword
import math
import os
import re
from pathlib import Path

import mmdet

_LINE = 90  # characters of a line, about


def base_name(base: Path, out: Path) -> str:
    """Write how a config names its base: ``mmdet::family/file.py`` for MMDetection's, else a relative path.

    Args:
        base: file of the base.
        out: file of the config.

    Returns:
        The name for ``_base_``.
    """
    packaged = _packaged_configs().resolve()
    if packaged in base.resolve().parents:
        name = f"mmdet::{base.resolve().relative_to(packaged).as_posix()}"
        if re.match(r"\w+::\w+/", name):  # MMEngine accepts no other folders, such as legacy_1.x
            return name
    return Path(os.path.relpath(base.resolve(), out.resolve().parent)).as_posix()


def _packaged_configs() -> Path:
    return Path(mmdet.__file__).parent / ".mim" / "configs"


def with_type_names(value: object) -> object:
    """Replace classes and functions in settings by strings that MMEngine's registries resolve.

    Args:
        value: settings: dicts, lists and tuples of plain values, classes and functions.

    Returns:
        Plain settings.
    """
    if isinstance(value, dict):
        return {key: with_type_names(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(with_type_names(item) for item in value)
    return f"{value.__module__}.{value.__qualname__}" if callable(value) else value


def as_code(value: object, indent: int = 0) -> str:
    """Format a setting as Python code: on one line if it is short, else one entry per line.

    Args:
        value: plain settings.
        indent: spaces before the closing bracket.

    Returns:
        The code.
    """
    if isinstance(value, dict):
        if all(isinstance(key, str) and _is_argument(key) for key in value):
            head, names, tail = "dict(", [f"{key}=" for key in value], ")"
        else:
            head, names, tail = "{", [f"{as_code(key)}: " for key in value], "}"
        values = list(value.values())
    elif isinstance(value, (list, tuple)):
        brackets = "[]" if isinstance(value, list) else "()"
        head, names, tail = brackets[0], [""] * len(value), brackets[1]
        values = list(value)
    elif isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'  # inf and nan are not names of Python
    else:
        return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
    inner = indent + 4
    entries = [f"{name}{as_code(one, inner)}" for name, one in zip(names, values)]
    short = ", ".join(entries)
    if isinstance(value, tuple) and len(value) == 1:
        short += ","
    if "\n" not in short and indent + len(short) < _LINE:
        return f"{head}{short}{tail}"
    lines = [f"{' ' * inner}{entry},\n" for entry in entries]
    return f"{head}\n{''.join(lines)}{' ' * indent}{tail}"


def _is_argument(key: str) -> bool:
    """Whether a key can be written as an argument of dict; Python replaces some letters that are not ASCII."""
    return key.isascii() and key.isidentifier() and not keyword.iskeyword(key)
