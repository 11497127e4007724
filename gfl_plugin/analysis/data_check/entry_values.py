"""Checked access to the values of an annotation entry."""

from __future__ import annotations

import reprlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .annotations import MAX_PIXELS, Identifier

_MAX_SIDE = 1 << 20  # pixels, the largest side that OpenCV decodes

AddReason = Callable[[str], None]  # is called with a description of the error in an entry


def found(entry: Mapping[str, Any], key: str) -> str:
    """Describe the value of a key for a message.

    Args:
        entry: annotation entry.
        key: key in the entry.

    Returns:
        "is ..." or "is missing".
    """
    return f"is {reprlib.repr(entry[key])}" if key in entry else "is missing"


def string(entry: Mapping[str, Any], key: str, add_reason: AddReason) -> str | None:
    """Read a string.

    Args:
        entry: annotation entry.
        key: key in the entry.
        add_reason: function that is called if the value is not a string.

    Returns:
        The string; None if there is none.
    """
    value = entry.get(key)
    if isinstance(value, str):
        return value
    add_reason(f"{key} {found(entry, key)}; it must be a string")
    return None


def identifier(entry: Mapping[str, Any], key: str, add_reason: AddReason) -> Identifier | None:
    """Read an identifier: an integer or a string.

    Args:
        entry: annotation entry.
        key: key in the entry.
        add_reason: function that is called if the value is not an identifier.

    Returns:
        The identifier; None if there is none.
    """
    value = entry.get(key)
    known = value if isinstance(value, str) else _whole(value)
    if known is None:
        add_reason(f"{key} {found(entry, key)}; it must be an integer or a string")
    return known


def image_size(entry: Mapping[str, Any], add_reason: AddReason) -> tuple[int, int]:
    """Read the size of an image.

    Args:
        entry: annotation entry with ``width`` and ``height``.
        add_reason: function that is called if no image can have this size.

    Returns:
        Width and height in pixels; zeros if they are not valid.
    """
    width, height = _side(entry, "width", add_reason), _side(entry, "height", add_reason)
    if width * height > MAX_PIXELS:
        add_reason(f"{width}×{height} pixels are more than OpenCV can decode ({MAX_PIXELS})")
        return 0, 0
    return (width, height) if width and height else (0, 0)


def _side(entry: Mapping[str, Any], key: str, add_reason: AddReason) -> int:
    side = _whole(entry.get(key))
    if side is not None and 0 < side <= _MAX_SIDE:
        return side
    add_reason(f"{key} {found(entry, key)}; it must be an integer from 1 to {_MAX_SIDE}")
    return 0


def _whole(value: object) -> int | None:
    """Convert to an integer; 3.0 is accepted, anything else becomes None."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def repeated(values: Sequence[object]) -> list[object]:
    """Find values that occur more than once.

    Args:
        values: hashable; None is ignored.

    Returns:
        Each such value once.
    """
    return [value for value, count in Counter(values).items() if count > 1 and value is not None]
