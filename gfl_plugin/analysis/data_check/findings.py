"""What is wrong with annotations and images, one finding a kind."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .annotations import Annotations, Box, Image

_EXAMPLES = 5
_OUTSIDE = 1.0  # pixels that a side may lie beyond the image, as annotators count from 0 or from 1
Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Finding:
    """One kind of thing that is wrong, or worth a look."""

    kind: str
    serious: bool  # whether it is a mistake, rather than something to know
    count: int
    of: int  # how many there are in all
    examples: tuple[str, ...]
    advice: str

    @staticmethod
    def of_names(kind: str, serious: bool, names: Sequence[str], total: int, advice: str) -> Finding:
        """From all names; the first few are kept."""
        return Finding(kind, serious, len(names), total, tuple(names[:_EXAMPLES]), advice)


def of_annotations(annotations: Annotations, classes: Sequence[str], needs_objects: bool = True) -> list[Finding]:
    """What the annotations alone show.

    Args:
        annotations: of a data set.
        classes: that the config's metainfo names.
        needs_objects: whether it is a mistake if no object is of these classes. Training and validation need them; a
            test set may come without.
    """
    images = annotations.images
    boxes = [(image, box) for image in images for box in image.boxes]
    used = {box.name for _, box in boxes}
    objects, ignored = len(boxes), "training ignores them; correct or delete them"

    def boxes_that(wrong: Callable[[Image, Box], bool]) -> list[str]:
        return [_told(image, box) for image, box in boxes if wrong(image, box)]

    make = Finding.of_names
    found = [
        make(
            "annotation entries with missing or wrong values",
            True,
            annotations.broken,
            annotations.entries,
            "MMDetection fails on most of them; correct or delete them",
        ),
        make(
            "annotation files without an image", True, [] if images else [annotations.source], 1, "is ann_file right?"
        ),
        make("boxes that are not numbers", True, boxes_that(lambda _, box: not _finite(box)), objects, ignored),
        make("boxes of zero or negative size", True, boxes_that(lambda _, box: _flat(box)), objects, ignored),
        make("boxes outside of their image", True, boxes_that(_outside), objects, "is the image's size right?"),
        make(
            "classes that metainfo does not name",
            True,
            sorted(used - set(classes)),
            len(used),
            "their objects are left out without a word; name them in metainfo.classes, or delete them",
        ),
        make(
            "data sets without an object of their classes",
            needs_objects,
            [f"{objects} objects, none of {_listed(classes)}"] if images and not used & set(classes) else [],
            1,
            "nothing can be learned or measured; are ann_file and metainfo.classes right?",
        ),
        make("classes without an object", False, [name for name in classes if name not in used], len(classes), ""),
        make("identifiers that occur twice", True, annotations.duplicates, len(images), "one of them is lost"),
        make("objects of an image that is not listed", True, annotations.orphans, objects, "they are lost"),
        make(
            "images without an object",
            False,
            [image.name for image in images if not image.boxes],
            len(images),
            "filter_cfg=dict(filter_empty_gt=True) leaves them out; GFL can learn from them, too",
        ),
    ]
    return [one for one in found if one.count]


def of_num_classes(num_classes: int, classes: Sequence[str]) -> list[Finding]:
    """A head that has another number of classes than the data set it is trained on."""
    if isinstance(classes, str):
        example = f"metainfo.classes={classes!r}"
        advice = f"classes must be a tuple of names: ({classes!r},) with the comma"
        return [Finding("class names that are a single text", True, 1, 1, (example,), advice)]
    if num_classes == len(classes):
        return []
    example = f"bbox_head.num_classes={num_classes}, and metainfo names {len(classes)}: {_listed(classes)}"
    advice = f"num_classes={len(classes)}, or correct metainfo.classes"
    return [Finding("heads with another number of classes", True, 1, 1, (example,), advice)]


def _listed(classes: Sequence[str]) -> str:
    """The first classes, and how many there are."""
    shown = ", ".join(map(str, classes[:_EXAMPLES]))
    return f"{shown}, … ({len(classes)} in all)" if len(classes) > _EXAMPLES else shown or "no classes"


def _told(image: Image, box: Box) -> str:
    return f"{image.name}: {box.name} [{box.x1:g}, {box.y1:g}, {box.x2:g}, {box.y2:g}] in {image.width}×{image.height}"


def _finite(box: Box) -> bool:
    return all(map(math.isfinite, (box.x1, box.y1, box.x2, box.y2)))


def _flat(box: Box) -> bool:
    return _finite(box) and (box.x2 <= box.x1 or box.y2 <= box.y1)


def _outside(image: Image, box: Box) -> bool:
    if not (_finite(box) and image.width and image.height):
        return False
    beyond = max(-box.x1, -box.y1, box.x2 - image.width, box.y2 - image.height)
    return beyond > _OUTSIDE


def of_files(images: Sequence[Image], decode: bool, report: Report) -> list[Finding]:
    """What the image files show: missing ones, and with ``decode`` those that cannot be read or have another size."""
    missing, broken, wrong = [], [], []
    for number, image in enumerate(images, 1):
        if not os.path.isfile(image.path):  # Path.is_file raises for names that are too long
            missing.append(str(image.path))
        elif decode:
            size, why = _size(image)
            if why:
                broken.append(f"{image.path}: {why}")
            elif image.width and size != (image.width, image.height):
                wrong.append(f"{image.path} is {size[0]}×{size[1]}, its annotation says {image.width}×{image.height}")
        report(number, len(images))
    redo = "fetch them again; make those with too many pixels smaller"
    found = [
        Finding.of_names("images that are missing", True, missing, len(images), "is data_root or data_prefix right?"),
        Finding.of_names("images that cannot be read to their end", True, broken, len(images), redo),
        Finding.of_names("images of another size than annotated", True, wrong, len(images), "are boxes scaled, too?"),
    ]
    return [one for one in found if one.count]


def _size(image: Image) -> tuple[tuple[int, int], str]:
    """Width and height of an image file, and why it cannot be decoded, or an empty text."""
    from PIL import Image as Pictures

    try:
        with warnings.catch_warnings():
            # Pillow warns of images that are large, and raises DecompressionBombError for those twice as large.
            warnings.simplefilter("ignore", Pictures.DecompressionBombWarning)
            with Pictures.open(image.path) as picture:
                picture.load()  # a truncated file fails here, not before
                return picture.size, ""
    except Exception as error:  # decoders raise what they like on broken files
        return (0, 0), f"{type(error).__name__}: {' '.join(str(error).split())}"


def of_failure(error: Exception, known: Iterable[Finding]) -> Finding:
    """MMDetection cannot load a data set.

    Args:
        error: what it raised.
        known: findings of the data set's annotations, which may explain it.
    """
    kinds = [one.kind for one in known if one.serious]
    advice = f"probably because of: {', '.join(kinds)}" if kinds else "no finding in the annotations explains it"
    return Finding("data sets that MMDetection cannot load", True, 1, 1, (str(error),), advice)


def serious(findings: Iterable[Finding]) -> bool:
    """Whether any finding is a mistake."""
    return any(one.serious for one in findings)
