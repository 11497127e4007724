"""Reads annotations in COCO's format."""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmengine.config import ConfigDict

from .annotations import Annotations, Box, Identifier, Image
from .entry_values import AddReason, found, identifier, image_size, repeated, string


def read_coco(dataset: ConfigDict, root: Path, path: Path) -> Annotations:
    """Read a COCO file.

    Args:
        dataset: config of the dataset.
        root: ``data_root`` of the dataset.
        path: path of the annotation file.

    Returns:
        The annotations.

    Raises:
        ValueError: if the file is not a COCO file.
    """
    content = _coco_content(path)
    folder = root / (dataset.get("data_prefix") or {}).get("img", "")
    broken: list[str] = []
    names: dict[Identifier | None, str] = {}
    for entry, add_reason in _coco_entries(content, "categories", broken):
        category, name = identifier(entry, "id", add_reason), string(entry, "name", add_reason)
        if name is not None:
            names[category] = name
    images = [
        (identifier(entry, "id", add_reason), _coco_image(entry, folder, add_reason))
        for entry, add_reason in _coco_entries(content, "images", broken)
    ]
    objects = [
        (
            identifier(entry, "id", add_reason),
            identifier(entry, "image_id", add_reason),
            _coco_box(entry, names, add_reason),
        )
        for entry, add_reason in _coco_entries(content, "annotations", broken)
    ]
    boxes: dict[Identifier, list[Box]] = {number: [] for number, _ in images if number is not None}
    for _, image, box in objects:
        if image in boxes and box is not None:
            boxes[image].append(box)
    return Annotations(
        source=str(path),
        images=tuple(
            replace(image, boxes=tuple(boxes.get(number, ()))) for number, image in images if image is not None
        ),
        duplicates=(
            *(f"image id {number}" for number in repeated([number for number, _ in images])),
            *(f"object id {number}" for number in repeated([number for number, _, _ in objects])),
        ),
        orphans=tuple(
            f"object {number} of image {image}"
            for number, image, _ in objects
            if image is not None and image not in boxes
        ),
        broken=tuple(broken),
        entries=sum(len(section) if isinstance(section, list) else 1 for section in content.values()),
        shortest_side=1.0,  # a constant of CocoDataset
    )


def _coco_content(path: Path) -> dict[str, Any]:
    """The sections of a COCO file that are checked."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(f"{path} is not a COCO file: its JSON is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"{path} is not a COCO file: {type(error).__name__}: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not a COCO file: it contains {reprlib.repr(content)}, not a JSON object")
    missing = [section for section in ("images", "categories") if section not in content]
    if missing:
        raise ValueError(f"{path} is not a COCO file: it has no {' and no '.join(missing)}")
    return {section: content.get(section, []) for section in ("images", "annotations", "categories")}


def _coco_entries(
    content: Mapping[str, Any], section: str, broken: list[str]
) -> Iterator[tuple[dict[str, Any], AddReason]]:
    """Iterate over the entries of a section that are JSON objects.

    Args:
        content: return value of :func:`_coco_content`.
        section: key of the section.
        broken: list to which one line per broken entry is appended.

    Yields:
        The entry, and a function that records what is wrong with it.
    """
    entries = content[section]
    if not isinstance(entries, list):
        broken.append(f"{section} is {reprlib.repr(entries)}; it must be a list")
        return
    for number, entry in enumerate(entries):
        reasons: list[str] = []
        if isinstance(entry, dict):
            yield entry, reasons.append
        else:
            reasons.append(f"{reprlib.repr(entry)} is not a JSON object")
        if reasons:
            broken.append(f"{section}[{number}]: {'; '.join(reasons)}")


def _coco_image(entry: Mapping[str, Any], folder: Path, add_reason: AddReason) -> Image | None:
    """An image without its boxes; None if it names no file."""
    name = string(entry, "file_name", add_reason)
    width, height = image_size(entry, add_reason)
    if name is None:
        return None
    if not name or "\0" in name:
        add_reason(f"file_name is {reprlib.repr(name)}; it must be the name of a file")
        return None
    return Image(name, folder / name, width, height, ())


def _coco_box(entry: Mapping[str, Any], names: Mapping[Any, str], add_reason: AddReason) -> Box | None:
    """An object; None if it has no class or no box."""
    category = identifier(entry, "category_id", add_reason)
    if math.isnan(_json_number(entry.get("area"))):
        add_reason(f"area {found(entry, 'area')}; it must be a number, since MMDetection reads it")
    sides = entry.get("bbox")
    if not isinstance(sides, list) or len(sides) != 4:
        add_reason(f"bbox {found(entry, 'bbox')}; it must be four numbers: x, y, width, height")
        return None
    if category is None:
        return None
    x, y, width, height = map(_json_number, sides)
    return Box(names.get(category, f"id {category}"), x, y, x + width, y + height)


def _json_number(value: object) -> float:
    """Convert a JSON number; NaN for anything else, infinity for integers that are too large for float."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf
