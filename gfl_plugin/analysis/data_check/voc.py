"""Reads annotations in Pascal VOC's format."""

from __future__ import annotations

import math
import os
from pathlib import Path
from xml.etree import ElementTree

from mmengine.config import ConfigDict
from mmengine.fileio import list_from_file

from .annotations import Annotations, Box, Image
from .entry_values import AddReason, image_size, repeated


def read_voc(dataset: ConfigDict, root: Path, path: Path) -> Annotations:
    """Read Pascal VOC's XML files.

    Args:
        dataset: config of the dataset.
        root: ``data_root`` of the dataset.
        path: path of the list of image names.

    Returns:
        The annotations.

    Raises:
        ValueError: if the list is not text.
    """
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
        duplicates=tuple(f"image {value}" for value in repeated(names)),
        broken=tuple(broken),
        entries=len(names),
    )


def _voc_tree(folder: Path, name: str) -> ElementTree.Element:
    """Parse the annotation of an image. Expat limits the expansion of entities and reads no external entities.

    Args:
        folder: folder of the annotations.
        name: name of the image.

    Returns:
        The root of the XML tree.

    Raises:
        ValueError: if the file is missing, outside the folder, or not XML.
    """
    file = folder / f"{name}.xml"
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError(f"{file} is outside the folder of the annotations and is not read")
    if not os.path.isfile(file):  # Path.is_file raises an error for names that are too long
        raise ValueError(f"file not found: {file}")
    try:
        return ElementTree.parse(file).getroot()
    except (OSError, ElementTree.ParseError, ValueError, LookupError) as error:  # LookupError: unknown encoding
        raise ValueError(f"{file} cannot be read: {error}") from error


def _voc_image(name: str, path: Path, tree: ElementTree.Element, add_reason: AddReason) -> Image:
    size = tree.find("size")
    width, height = (0, 0)  # without a size, MMDetection uses the size of the image file
    if size is not None:
        width, height = image_size({side.tag: _integer(side.text) for side in size}, add_reason)
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
    """Convert text to a number; NaN if it is not one."""
    try:
        return float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan


def _integer(text: str | None) -> int | str | None:
    """Convert text to an integer; other text is returned unchanged."""
    try:
        return int(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return text
