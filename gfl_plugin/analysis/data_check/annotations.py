"""A data set's annotations as they are written, before MMDetection leaves anything out."""

from __future__ import annotations

import json
import math
import os
import reprlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from mmengine.config import ConfigDict
from mmengine.fileio import list_from_file

# The largest image that OpenCV decodes, which is what MMDetection reads images with.
_MAX_SIDE = 1 << 20  # pixels
MAX_PIXELS = 1 << 30

Identifier = int | str
AddReason = Callable[[str], None]  # is called with what is wrong with an entry


@dataclass(frozen=True)
class Box:
    """One annotated object."""

    name: str  # of its class
    x1: float  # pixels
    y1: float
    x2: float
    y2: float


@dataclass(frozen=True)
class Image:
    """One annotated image."""

    name: str  # as the annotations call it
    path: Path
    width: int  # pixels, as the annotations say; 0 where they give no usable size
    height: int  # pixels; 0 where width is
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class Annotations:
    """A data set's annotation file or files."""

    source: str
    images: tuple[Image, ...]
    duplicates: tuple[str, ...]  # identifiers that occur more than once
    orphans: tuple[str, ...] = field(default=())  # objects of an image that is not listed
    broken: tuple[str, ...] = field(default=())  # entries with missing or wrong values, each with the reasons
    entries: int = 0  # in all, broken ones included


@dataclass(frozen=True)
class Source:
    """A data set that reads annotations, as a config names it."""

    dataset: ConfigDict  # without wrappers
    mixer: ConfigDict | None = None  # the wrapper whose pipeline its images go through afterwards, as in YOLOX


def sources(dataset: ConfigDict, mixer: ConfigDict | None = None) -> Iterator[Source]:
    """The data sets inside of wrappers (repeated, joined, balanced, mixed)."""
    inner = dataset.get("datasets") or ([dataset.dataset] if "dataset" in dataset else None)
    if inner is None:
        yield Source(dataset, mixer)
        return
    for one in inner:
        yield from sources(one, dataset if "pipeline" in dataset else mixer)


def plain_name(kind: object) -> str:
    """A type's name without its scope; configs name types by strings or, in the new style, by the classes."""
    return getattr(kind, "__name__", str(kind)).split(".")[-1]


def read(dataset: ConfigDict, kind: str) -> Annotations:
    """The annotations of a data set; entries with wrong values are listed in ``broken``.

    Args:
        dataset: its config.
        kind: "coco" or "voc".

    Raises:
        FileNotFoundError: where the annotation file is missing.
        ValueError: for a file that is not of the kind, and where the config names no file.
    """
    root = Path(dataset.get("data_root") or "")
    ann_file = dataset.get("ann_file")
    if not isinstance(ann_file, (str, os.PathLike)) or not str(ann_file):
        raise ValueError(
            f"ann_file of the {dataset.get('type')} in {root} is {ann_file!r}; it must name the annotation file"
        )
    path = root / ann_file
    if not path.is_file():
        raise FileNotFoundError(f"there is no annotation file {path}")
    return _read_coco(dataset, root, path) if kind == "coco" else _read_voc(dataset, root, path)


# ---------------------------------------------------------------------------------------------------
# COCO
# ---------------------------------------------------------------------------------------------------


def _read_coco(dataset: ConfigDict, root: Path, path: Path) -> Annotations:
    content = _coco_content(path)
    folder = root / (dataset.get("data_prefix") or {}).get("img", "")
    broken: list[str] = []
    names: dict[Identifier | None, str] = {}
    for entry, add_reason in _coco_entries(content, "categories", broken):
        category, name = _identifier(entry, "id", add_reason), _text(entry, "name", add_reason)
        if name is not None:
            names[category] = name
    images = [
        (_identifier(entry, "id", add_reason), _coco_image(entry, folder, add_reason))
        for entry, add_reason in _coco_entries(content, "images", broken)
    ]
    objects = [
        (
            _identifier(entry, "id", add_reason),
            _identifier(entry, "image_id", add_reason),
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
            *(f"image id {number}" for number in _repeated([number for number, _ in images])),
            *(f"object id {number}" for number in _repeated([number for number, _, _ in objects])),
        ),
        orphans=tuple(
            f"object {number} of image {image}"
            for number, image, _ in objects
            if image is not None and image not in boxes
        ),
        broken=tuple(broken),
        entries=sum(len(section) if isinstance(section, list) else 1 for section in content.values()),
    )


def _coco_content(path: Path) -> dict[str, Any]:
    """The sections of a COCO file that are looked at."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(f"{path} is not a COCO file: its JSON is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"{path} is not a COCO file: {type(error).__name__}: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not a COCO file: it holds {reprlib.repr(content)}, not a JSON object")
    missing = [section for section in ("images", "categories") if section not in content]
    if missing:
        raise ValueError(f"{path} is not a COCO file: it has no {' and no '.join(missing)}")
    return {section: content.get(section, []) for section in ("images", "annotations", "categories")}


def _coco_entries(
    content: Mapping[str, Any], section: str, broken: list[str]
) -> Iterator[tuple[dict[str, Any], AddReason]]:
    """Each entry of a section that is a JSON object, with a function that takes what is wrong with it.

    Args:
        content: of :func:`_coco_content`.
        section: its key.
        broken: gets a line for each entry that something is wrong with.
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
    """An image without its boxes; None where it names no file."""
    name = _text(entry, "file_name", add_reason)
    width, height = _size(entry, add_reason)
    if name is None:
        return None
    if not name or "\0" in name:
        add_reason(f"file_name is {reprlib.repr(name)}; it must name a file")
        return None
    return Image(name, folder / name, width, height, ())


def _coco_box(entry: Mapping[str, Any], names: Mapping[Any, str], add_reason: AddReason) -> Box | None:
    """An object; None where it has no class or no box."""
    category = _identifier(entry, "category_id", add_reason)
    if math.isnan(_json_number(entry.get("area"))):
        add_reason(f"area {_found(entry, 'area')}; it must be a number, MMDetection reads it")
    sides = entry.get("bbox")
    if not isinstance(sides, list) or len(sides) != 4:
        add_reason(f"bbox {_found(entry, 'bbox')}; it must be four numbers: x, y, width, height")
        return None
    if category is None:
        return None
    x, y, width, height = map(_json_number, sides)
    return Box(names.get(category, f"id {category}"), x, y, x + width, y + height)


def _json_number(value: object) -> float:
    """NaN for what is not a JSON number, infinity for an integer beyond floats."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


# ---------------------------------------------------------------------------------------------------
# Pascal VOC
# ---------------------------------------------------------------------------------------------------


def _read_voc(dataset: ConfigDict, root: Path, path: Path) -> Annotations:
    try:
        names = list_from_file(str(path))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a list of image names: {error}") from error
    root = root / (dataset.get("data_prefix") or {}).get("sub_data_root", "")
    folder = root / dataset.get("ann_subdir", "Annotations")
    pictures = root / dataset.get("img_subdir", "JPEGImages")
    images, broken = [], []
    for name in names:
        reasons: list[str] = []
        try:
            images.append(_voc_image(name, pictures / f"{name}.jpg", _voc_tree(folder, name), reasons.append))
        except ValueError as error:
            reasons.append(str(error))
        if reasons:
            broken.append(f"{name}: {'; '.join(reasons)}")
    return Annotations(
        source=str(path),
        images=tuple(images),
        duplicates=tuple(f"image {value}" for value in _repeated(names)),
        broken=tuple(broken),
        entries=len(names),
    )


def _voc_tree(folder: Path, name: str) -> ElementTree.Element:
    """The annotation of an image. Expat limits the expansion of entities and reads no external ones.

    Raises:
        ValueError: where it is missing, outside of the folder, or not XML.
    """
    file = folder / f"{name}.xml"
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError(f"{file} is outside of the annotations' folder and is not read")
    if not os.path.isfile(file):  # Path.is_file raises for names that are too long
        raise ValueError(f"file not found: {file}")
    try:
        return ElementTree.parse(file).getroot()
    except (OSError, ElementTree.ParseError, ValueError, LookupError) as error:  # LookupError: unknown encoding
        raise ValueError(f"{file} cannot be read: {error}") from error


def _voc_image(name: str, path: Path, tree: ElementTree.Element, add_reason: AddReason) -> Image:
    size = tree.find("size")
    width, height = (0, 0)  # MMDetection takes the image's own size where there is none
    if size is not None:
        width, height = _size({side.tag: _integer(side.text) for side in size}, add_reason)
    boxes = []
    for number, entry in enumerate(tree.findall("object")):
        label = entry.find("name")
        if label is None:
            add_reason(f"object {number} has no name")
        else:
            boxes.append(_voc_box(label.text or "", entry))
    return Image(name, path, width, height, tuple(boxes))


def _voc_box(name: str, entry: ElementTree.Element) -> Box:
    return Box(name, *(_number(entry.findtext(f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")))


def _number(text: str | None) -> float:
    """NaN for what is not a number."""
    try:
        return float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan


def _integer(text: str | None) -> int | str | None:
    """An integer from its text; other text as it is."""
    try:
        return int(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return text


# ---------------------------------------------------------------------------------------------------
# Values of an entry
# ---------------------------------------------------------------------------------------------------


def _found(entry: Mapping[str, Any], key: str) -> str:
    return f"is {reprlib.repr(entry[key])}" if key in entry else "is missing"


def _text(entry: Mapping[str, Any], key: str, add_reason: AddReason) -> str | None:
    """None, with a reason added, for what is not text."""
    value = entry.get(key)
    if isinstance(value, str):
        return value
    add_reason(f"{key} {_found(entry, key)}; it must be text")
    return None


def _identifier(entry: Mapping[str, Any], key: str, add_reason: AddReason) -> Identifier | None:
    """None, with a reason added, for what does not identify anything."""
    value = entry.get(key)
    known = value if isinstance(value, str) else _whole(value)
    if known is None:
        add_reason(f"{key} {_found(entry, key)}; it must be an integer or text")
    return known


def _size(entry: Mapping[str, Any], add_reason: AddReason) -> tuple[int, int]:
    """Width and height in pixels; zeros, with a reason added, where an image cannot have them."""
    width, height = _side(entry, "width", add_reason), _side(entry, "height", add_reason)
    if width * height > MAX_PIXELS:
        add_reason(f"{width}×{height} pixels are more than OpenCV decodes ({MAX_PIXELS})")
        return 0, 0
    return (width, height) if width and height else (0, 0)


def _side(entry: Mapping[str, Any], key: str, add_reason: AddReason) -> int:
    side = _whole(entry.get(key))
    if side is not None and 0 < side <= _MAX_SIDE:
        return side
    add_reason(f"{key} {_found(entry, key)}; it must be an integer from 1 to {_MAX_SIDE}")
    return 0


def _whole(value: object) -> int | None:
    """An integer, also where it is written as 3.0; None for everything else."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _repeated(values: Sequence[object]) -> list[object]:
    """Those that occur more than once, without None."""
    return [value for value, count in Counter(values).items() if count > 1 and value is not None]
