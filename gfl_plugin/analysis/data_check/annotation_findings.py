"""Checks of annotations."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from .annotations import Annotations, Box, Image
from .findings import Finding, listed

_TOLERANCE = 1.0  # pixels by which a box may exceed its image, since coordinates start at 0 or at 1
_ROUNDING = 1e-6  # pixels, of the difference of two coordinates


def annotation_findings(annotations: Annotations, classes: Sequence[str], needs_objects: bool = True) -> list[Finding]:
    """Check the annotations of a dataset.

    Args:
        annotations: annotations of the dataset.
        classes: class names in the config's metainfo.
        needs_objects: whether it is a mistake if no object is of these classes, as in training and validation sets. A
            test set may have no objects.

    Returns:
        The findings.
    """
    images = annotations.images
    boxes = [(image, box) for image in images for box in image.boxes]
    used = {box.name for _, box in boxes}
    objects, ignored = len(boxes), "they are ignored in training; correct or delete them"

    def boxes_that(wrong: Callable[[Image, Box], bool]) -> list[str]:
        return [_shown(image, box) for image, box in boxes if wrong(image, box)]

    make = Finding.of_names
    found = [
        make(
            "annotation entries with missing or wrong values",
            True,
            annotations.broken,
            annotations.entries,
            "MMDetection fails on most of them; correct or delete them",
        ),
        make("annotation files without images", True, [] if images else [annotations.source], 1, "check ann_file"),
        make("boxes that are not numbers", True, boxes_that(lambda _, box: not _finite(box)), objects, ignored),
        make("boxes of zero or negative size", True, boxes_that(lambda _, box: _empty(box)), objects, ignored),
        make(
            f"boxes with a side shorter than {annotations.shortest_side:g} px",
            True,
            boxes_that(lambda _, box: not _empty(box) and _shorter(box, annotations.shortest_side)),
            objects,
            "MMDetection drops them without a warning; correct or delete them (coordinates must be pixels)",
        ),
        make("boxes outside their image", True, boxes_that(_outside), objects, "check the size of the image"),
        make(
            "classes that metainfo does not name",
            True,
            sorted(used - set(classes)),
            len(used),
            "their objects are dropped without a warning; add the classes to metainfo.classes, or delete the objects",
        ),
        make(
            "datasets without objects of their classes",
            needs_objects,
            [f"{objects} objects, none of {listed(classes)}"] if images and not used & set(classes) else [],
            1,
            "there is nothing to train on or to evaluate; check ann_file and metainfo.classes",
        ),
        make("classes without objects", False, [name for name in classes if name not in used], len(classes), ""),
        make("duplicate identifiers", True, annotations.duplicates, len(images), "only one of them is used"),
        make("objects of images that are not listed", True, annotations.orphans, objects, "they are not used"),
        make(
            "images without objects",
            False,
            [image.name for image in images if not image.boxes],
            len(images),
            "filter_cfg=dict(filter_empty_gt=True) removes them; GFL can also be trained with them",
        ),
    ]
    return [one for one in found if one.count]


def num_classes_findings(num_classes: int, classes: Sequence[str]) -> list[Finding]:
    """Check the number of classes of a head against its training set.

    Args:
        num_classes: number of classes of the head.
        classes: class names of the training set.

    Returns:
        The findings.
    """
    if isinstance(classes, str):
        example = f"metainfo.classes={classes!r}"
        advice = f"write a tuple of names: ({classes!r},) with the comma"
        return [Finding("classes given as a single string", True, 1, 1, (example,), advice)]
    if num_classes == len(classes):
        return []
    example = f"bbox_head.num_classes={num_classes}, but metainfo has {len(classes)}: {listed(classes)}"
    advice = f"set num_classes={len(classes)}, or correct metainfo.classes"
    return [Finding("heads with a wrong number of classes", True, 1, 1, (example,), advice)]


def _shown(image: Image, box: Box) -> str:
    return f"{image.name}: {box.name} [{box.x1:g}, {box.y1:g}, {box.x2:g}, {box.y2:g}] in {image.width}×{image.height}"


def _finite(box: Box) -> bool:
    return all(map(math.isfinite, (box.x1, box.y1, box.x2, box.y2)))


def _empty(box: Box) -> bool:
    return _finite(box) and (box.x2 <= box.x1 or box.y2 <= box.y1)


def _shorter(box: Box, side: float) -> bool:
    return _finite(box) and min(box.x2 - box.x1, box.y2 - box.y1) < side - _ROUNDING


def _outside(image: Image, box: Box) -> bool:
    if not (_finite(box) and image.width and image.height):
        return False
    excess = max(-box.x1, -box.y1, box.x2 - image.width, box.y2 - image.height)
    return excess > _TOLERANCE
