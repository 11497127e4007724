"""A data set's annotations as they are written, before MMDetection leaves anything out."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from mmengine.config import ConfigDict


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
    width: int  # pixels, as the annotations say; 0 where they do not
    height: int
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class Annotations:
    """A data set's annotation file or files."""

    source: str
    images: tuple[Image, ...]
    duplicates: tuple[str, ...]  # identifiers that occur more than once
    orphans: tuple[str, ...] = field(default=())  # objects of an image that is not listed


def leaves(dataset: ConfigDict) -> Iterator[ConfigDict]:
    """The data sets inside of wrappers (repeated, joined, balanced, mixed)."""
    inner = dataset.get("datasets") or ([dataset.dataset] if "dataset" in dataset else None)
    if inner is None:
        yield dataset
    else:
        for one in inner:
            yield from leaves(one)


def read(dataset: ConfigDict, kind: str) -> Annotations:
    """The annotations of a data set.

    Args:
        dataset: its config.
        kind: "coco" or "voc".

    Raises:
        FileNotFoundError: where the annotation file is missing.
        ValueError: for a file that is not of the kind.
    """
    root = Path(dataset.get("data_root") or "")
    path = root / dataset.ann_file
    if not path.is_file():
        raise FileNotFoundError(f"there is no annotation file {path}")
    return _read_coco(dataset, root, path) if kind == "coco" else _read_voc(dataset, root, path)


def _read_coco(dataset: ConfigDict, root: Path, path: Path) -> Annotations:
    try:
        content = json.loads(path.read_text())
        images, annotations, categories = content["images"], content.get("annotations", []), content["categories"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no COCO file: {type(error).__name__}: {error}") from error
    names = {category["id"]: category["name"] for category in categories}
    folder = root / (dataset.get("data_prefix") or {}).get("img", "")
    boxes: dict[object, list[Box]] = {image["id"]: [] for image in images}
    orphans = []
    for annotation in annotations:
        x, y, width, height = (_number(value) for value in annotation.get("bbox") or [math.nan] * 4)
        box = Box(names.get(annotation["category_id"], f"id {annotation['category_id']}"), x, y, x + width, y + height)
        if annotation["image_id"] in boxes:
            boxes[annotation["image_id"]].append(box)
        else:
            orphans.append(f"object {annotation.get('id')} of image {annotation['image_id']}")
    found = tuple(
        Image(
            name=str(image["file_name"]),
            path=folder / image["file_name"],
            width=int(image.get("width", 0)),
            height=int(image.get("height", 0)),
            boxes=tuple(boxes[image["id"]]),
        )
        for image in images
    )
    twice = [f"image id {value}" for value in _repeated([image["id"] for image in images])]
    twice += [f"object id {value}" for value in _repeated([one.get("id") for one in annotations])]
    return Annotations(str(path), found, tuple(twice), tuple(orphans))


def _read_voc(dataset: ConfigDict, root: Path, path: Path) -> Annotations:
    names = path.read_text().split()
    root = root / (dataset.get("data_prefix") or {}).get("sub_data_root", "")
    images = []
    for name in names:
        file = root / dataset.get("ann_subdir", "Annotations") / f"{name}.xml"
        try:
            tree = ElementTree.parse(file).getroot()
        except (OSError, ElementTree.ParseError) as error:
            raise ValueError(f"{file} cannot be read: {error}") from error
        size = tree.find("size")
        images.append(
            Image(
                name=name,
                path=root / dataset.get("img_subdir", "JPEGImages") / f"{name}.jpg",
                width=0 if size is None else int(size.findtext("width", "0")),
                height=0 if size is None else int(size.findtext("height", "0")),
                boxes=tuple(_voc_box(one) for one in tree.findall("object")),
            )
        )
    return Annotations(str(path), tuple(images), tuple(f"image {value}" for value in _repeated(names)))


def _voc_box(entry: ElementTree.Element) -> Box:
    sides = (_number(entry.findtext(f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax"))
    return Box(entry.findtext("name", ""), *sides)


def _number(value: object) -> float:
    """NaN for what is no number."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan


def _repeated(values: Sequence[object]) -> list[object]:
    seen: set[object] = set()
    return list(dict.fromkeys(value for value in values if value in seen or seen.add(value)))
