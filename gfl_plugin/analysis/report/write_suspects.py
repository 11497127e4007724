"""Writes suspect labels for annotation tools: a table, and the images to correct as COCO's JSON and CVAT's XML.

Both files contain all annotations of the images that have a suspect label, so that the corrected images can replace
those of the data set. CVAT keeps attributes only if the labels of the task have them, so that there is also a file with
these labels, for the tab "Raw" of CVAT's label constructor. Formats: https://cocodataset.org/#format-data and
https://docs.cvat.ai/docs/other/xml_format ("CVAT for images 1.1").
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from ...runtime.atomic_files import write_whole
from .examined_image import Examination, ExaminedImage
from .report_content import SIDES, SuspectLabel

FILES = ("suspects.csv", "suspects_coco.json", "suspects_cvat.xml", "suspects_cvat_labels.json")
COLUMNS = (
    "image",  # file
    "class",
    "side",  # that is probably wrong
    "labelled_px",  # position of that side
    "predicted_px",
    "beyond_px",  # by which the label lies beyond the margin
    "suspicion",  # distance of label and prediction in margins
    "iou",
    "x1",  # box of the annotation
    "y1",
    "x2",
    "y2",
)
# Attributes of a suspect label, in both files.
WRONG_SIDE, PREDICTED, SUSPICION = "wrong_side", "predicted_px", "suspicion"
RIGHT = "none"  # value of WRONG_SIDE of the other annotations in CVAT
CROWD = "is_crowd"  # attribute of ignored regions in CVAT, which its export in COCO's format knows
# Input type and values of the attributes in CVAT, the default first. CVAT's label constructor needs at least one value.
_CVAT_ATTRIBUTES = {
    WRONG_SIDE: ("select", (RIGHT, *SIDES)),
    PREDICTED: ("text", ("",)),
    SUSPICION: ("text", ("",)),
    CROWD: ("checkbox", ("false",)),
}


@dataclass(frozen=True)
class _Annotation:
    """An annotation of an image to correct."""

    box: tuple[float, ...]  # x1, y1, x2, y2 in pixels
    label: int
    ignored: bool
    suspect: SuspectLabel | None


def write_suspects(suspects: Sequence[SuspectLabel], examination: Examination, folder: Path) -> list[Path]:
    """Write suspect labels.

    Args:
        suspects: of the examination; the table has their order.
        examination: the images and their annotations.
        folder: of the files; it must exist.

    Returns:
        The paths of ``FILES``.
    """
    contents = (
        _table(suspects, examination),
        _coco(suspects, examination),
        _cvat(suspects, examination),
        _cvat_labels(examination.classes),
    )
    paths = [folder / name for name in FILES]
    for path, content in zip(paths, contents):
        write_whole(path, content)
    return paths


def _table(suspects: Sequence[SuspectLabel], examination: Examination) -> str:
    names = image_names(examination)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in suspects:
        objects = examination.images[one.image].objects
        numbers = (one.labelled, one.predicted, one.beyond, one.suspicion, one.iou, *objects.boxes[one.object])
        digits = (2, 2, 2, 3, 3, 2, 2, 2, 2)
        values = [f"{number:.{count}f}" for number, count in zip(numbers, digits)]
        writer.writerow([names[one.image], examination.classes[objects.labels[one.object]], one.side, *values])
    return text.getvalue()


def _coco(suspects: Sequence[SuspectLabel], examination: Examination) -> str:
    names = image_names(examination)
    images, annotations = [], []
    for index, own in _to_correct(suspects, examination):
        image = examination.images[index]
        number = len(images) + 1
        images.append({"id": number, "file_name": names[index], "width": image.width, "height": image.height})
        annotations += [
            _coco_annotation(one, number, identity) for identity, one in enumerate(own, len(annotations) + 1)
        ]
    categories = [{"id": number, "name": name} for number, name in enumerate(examination.classes, 1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _coco_annotation(one: _Annotation, image: int, identity: int) -> dict:
    x1, y1, x2, y2 = one.box
    return {
        "id": identity,
        "image_id": image,
        "category_id": one.label + 1,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": (x2 - x1) * (y2 - y1),
        "iscrowd": int(one.ignored),
        "segmentation": [],
        **({} if one.suspect is None else {"attributes": _attributes(one.suspect)}),
    }


def _cvat(suspects: Sequence[SuspectLabel], examination: Examination) -> str:
    names = image_names(examination)
    images = list(_to_correct(suspects, examination))
    root = ElementTree.Element("annotations")
    _child(root, "version", "1.1")
    task = _child(_child(root, "meta"), "task")
    _child(task, "name", "suspect labels")
    _child(task, "size", len(images))
    _child(task, "mode", "annotation")
    labels = _child(task, "labels")
    for name in examination.classes:
        _cvat_label(labels, name)
    for number, (index, own) in enumerate(images):
        image = examination.images[index]
        size = {"width": str(image.width), "height": str(image.height)}
        element = ElementTree.SubElement(root, "image", {"id": str(number), "name": names[index], **size})
        for one in own:
            _cvat_box(element, one, examination.classes[one.label])
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _cvat_label(labels: ElementTree.Element, name: str) -> None:
    label = _child(labels, "label")
    _child(label, "name", name)
    attributes = _child(label, "attributes")
    for attribute, (kind, values) in _CVAT_ATTRIBUTES.items():
        element = _child(attributes, "attribute")
        _child(element, "name", attribute)
        _child(element, "mutable", False)
        _child(element, "input_type", kind)
        _child(element, "default_value", values[0])
        _child(element, "values", "\n".join(values))


def _cvat_labels(classes: Sequence[str]) -> str:
    attributes = [
        {"name": name, "mutable": False, "input_type": kind, "default_value": values[0], "values": list(values)}
        for name, (kind, values) in _CVAT_ATTRIBUTES.items()
    ]
    return (
        json.dumps([{"name": name, "attributes": attributes} for name in classes], indent=1, ensure_ascii=False) + "\n"
    )


def _cvat_box(image: ElementTree.Element, one: _Annotation, name: str) -> None:
    corners = {key: f"{value:.2f}" for key, value in zip(("xtl", "ytl", "xbr", "ybr"), one.box)}
    box = ElementTree.SubElement(image, "box", {"label": name, **corners, "occluded": "0", "z_order": "0"})
    values = {WRONG_SIDE: RIGHT} if one.suspect is None else _attributes(one.suspect)
    if one.ignored:
        values[CROWD] = "true"
    for attribute, value in values.items():
        _child(box, "attribute", value).set("name", attribute)


def _attributes(suspect: SuspectLabel) -> dict[str, str | float]:
    return {
        WRONG_SIDE: suspect.side,
        PREDICTED: round(suspect.predicted, 2),
        SUSPICION: round(suspect.suspicion, 3),
    }


def _child(parent: ElementTree.Element, tag: str, text: object = None) -> ElementTree.Element:
    element = ElementTree.SubElement(parent, tag)
    if text is not None:
        element.text = str(text)
    return element


def _to_correct(suspects: Sequence[SuspectLabel], examination: Examination) -> Iterator[tuple[int, list[_Annotation]]]:
    """The images with a suspect label, in the order of the examination, each with all of its annotations."""
    by_place = {(one.image, one.object): one for one in suspects}
    for index in sorted({one.image for one in suspects}):
        yield index, list(_annotations(examination.images[index], index, by_place))


def _annotations(
    image: ExaminedImage, index: int, suspects: dict[tuple[int, int], SuspectLabel]
) -> Iterator[_Annotation]:
    for boxes, ignored in ((image.objects, False), (image.ignored, True)):
        for number, (box, label) in enumerate(zip(boxes.boxes, boxes.labels)):
            suspect = None if ignored else suspects.get((index, number))
            yield _Annotation(tuple(map(float, box)), int(label), ignored, suspect)


def image_names(examination: Examination) -> list[str]:
    """Names of the images: paths below their common folder, as annotation tools name uploaded images.

    Args:
        examination: the images.

    Returns:
        One name per image, with ``/`` between folders; ``image ID`` without a path.
    """
    paths = [image.path for image in examination.images if image.path]
    common = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths]) if paths else ""
    return [
        Path(os.path.relpath(image.path, common)).as_posix() if image.path else f"image {image.image_id}"
        for image in examination.images
    ]
