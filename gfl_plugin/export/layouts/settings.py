"""Reads a layout's JSON file: the keys that a person writes, and those of the layout that it is based on."""

from __future__ import annotations

import difflib
import json
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from .layout import BIN_MAJOR, LETTERBOX, LOGITS, PAD, PROBABILITIES, SIDE_MAJOR, STRETCH

SCORES_FIRST, SIDES_FIRST = "scores_first", "sides_first"
_BASE = "base"
_SHIPPED = resources.files(__package__) / "shipped"
_MANY = 4096  # more levels, bins or pixels per stride are a mistake
_LARGEST_SIDE = 1 << 15  # pixels of an input


@dataclass(frozen=True)
class Settings:
    """The keys of a layout."""

    name: str  # of a layout that comes along, or the path of a file
    values: Mapping[str, object]  # valid values of all keys that are written
    # Keys that a person has written for this file. The others are those of a layout that comes along: where the file
    # contradicts one of them in a way that can be read from it, the file is right.
    own: frozenset[str]


def shipped_layouts() -> tuple[str, ...]:
    """Names of the layouts that come along.

    Returns:
        The names in alphabetical order.
    """
    return tuple(sorted(one.name.removesuffix(".json") for one in _SHIPPED.iterdir() if one.name.endswith(".json")))


def read_settings(layout: str) -> Settings:
    """Read a layout.

    Args:
        layout: name of a layout that comes along, or path of a JSON file.

    Returns:
        Its keys, and those of its base.

    Raises:
        FileNotFoundError: if there is no such name and no such file.
        ValueError: if the file is not JSON, or a key is unknown or has a wrong value.
    """
    if layout in shipped_layouts():
        return Settings(layout, _checked(layout, (_SHIPPED / f"{layout}.json").read_text("utf-8")), frozenset())
    path = Path(layout)
    if not path.is_file():
        raise FileNotFoundError(
            f"layout not found: {layout} is neither a file nor one of the layouts {', '.join(shipped_layouts())}"
        )
    values = _checked(str(path), path.read_bytes().decode("utf-8", "replace"))
    own = frozenset(values)
    base = values.pop(_BASE, None)
    if base is not None:
        if base not in shipped_layouts():
            raise ValueError(f'{path}: "base" is {base!r}; it must be one of {", ".join(shipped_layouts())}')
        values = {**read_settings(base).values, **values}
    return Settings(str(path), values, own - {_BASE})


def _checked(name: str, text: str) -> dict[str, object]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} is not a layout: {type(error).__name__}: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{name} is not a layout: it contains {reprlib.repr(values)}, not a JSON object")
    for key, value in values.items():
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, 1)
            hint = f' Did you mean "{near[0]}"?' if near else _RENAMED.get(key, "")
            raise ValueError(f"{name}: unknown key {key!r}.{hint} The keys are: {', '.join(KEYS)}")
        fits, wanted = KEYS[key]
        if not fits(value):
            raise ValueError(f'{name}: "{key}" is {reprlib.repr(value)}; it must be {wanted}')
    return values


def _whole(least: int, most: int = _MANY) -> Callable[[object], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _number(least: float, most: float) -> Callable[[object], bool]:
    return lambda value: isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most


def _list(fits: Callable[[object], bool], least: int = 1, most: int = _MANY) -> Callable[[object], bool]:
    return lambda value: isinstance(value, list) and least <= len(value) <= most and all(map(fits, value))


def _one_of(*names: object) -> tuple[Callable[[object], bool], str]:
    return lambda value: not isinstance(value, bool) and value in names, " or ".join(json.dumps(name) for name in names)


def _any(*options: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: any(fits(value) for fits in options)


def _increasing(value: object) -> bool:
    return _list(_number(-1e6, 1e6), 2)(value) and all(one < other for one, other in zip(value, value[1:]))


def _different(value: object) -> bool:
    return _NAMES(value) and len(set(value)) == len(value)


def _text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


_GREY = _number(-1e6, 1e6)
_NAMES = _list(_text)
_NAME_LIST = "the name of an output, or a list of names in the order of the strides"
_RENAMED = {
    "reg_max": ' Write "bins": reg_max + 1.',
    "num_classes": ' Write "classes".',
    "input_size": ' Write "size".',
    "keep_ratio": ' Write "resize".',
}
KEYS: dict[str, tuple[Callable[[object], bool], str]] = {
    "about": (_text, "a text"),
    _BASE: (_text, "the name of a layout that comes along"),
    "input": (_text, "the name of the input for images"),
    "size": (
        _any(_whole(1, _LARGEST_SIDE), _list(_whole(1, _LARGEST_SIDE), 2, 2)),
        "a number of pixels, or [width, height]",
    ),
    "size_divisor": (_whole(1), "a whole number of pixels of at least 1"),
    "resize": _one_of(STRETCH, PAD, LETTERBOX),
    "interpolation": _one_of("bilinear", "bicubic"),
    "pad_value": (_any(_GREY, _list(_GREY, 3, 3)), "a grey level (0 to 255), or a list of one per channel"),
    "color": _one_of("rgb", "bgr"),
    "mean": (_list(_GREY, 3, 3), "a list of 3 numbers on the scale 0 to 255, in the order of the channels"),
    "std": (
        _list(_number(1e-6, 1e6), 3, 3),
        "a list of 3 positive numbers on the scale 0 to 255, in the order of the channels",
    ),
    "other_inputs": (
        lambda value: isinstance(value, dict) and all(isinstance(one, list) for one in value.values()),
        "an object with a list of numbers for each other input of the file",
    ),
    "joined": (_any(_text, _different), f"{_NAME_LIST}; such an output holds scores and sides"),
    "scores": (_any(_text, _different), _NAME_LIST),
    "sides": (_any(_text, _different), _NAME_LIST),
    "order": _one_of(SCORES_FIRST, SIDES_FIRST),
    "channel_axis": _one_of("first", "last"),
    "scores_are": _one_of(LOGITS, PROBABILITIES),
    "sides_are": _one_of(LOGITS, PROBABILITIES),
    "bin_order": _one_of(SIDE_MAJOR, BIN_MAJOR),
    "bins": (
        _any(_whole(2), _increasing),
        "the number of bins (reg_max + 1, at least 2), or a list of increasing distances in strides",
    ),
    "strides": (
        lambda value: _list(_whole(1))(value) and len(set(value)) == len(value),
        "a list of different whole numbers of pixels, in the order of the levels",
    ),
    "offset": _one_of(0, 0.5),
    "classes": (_any(_whole(1, 1 << 20), _list(_text, 1, 1 << 20)), "the number of classes, or a list of their names"),
    "score_threshold": (_number(0, 1), "a number from 0 to 1"),
    "topk": (_whole(1, 1 << 20), "a whole number of at least 1"),
    "iou_threshold": (_number(0, 1), "a number from 0 to 1"),
    "class_agnostic": (lambda value: isinstance(value, bool), "true or false"),
    "max_per_image": (_whole(1, 1 << 20), "a whole number of at least 1"),
}
