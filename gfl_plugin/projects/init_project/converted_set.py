"""Turns globox's annotations into labelled sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ...runtime.install_advice import module_or_advice
from .labelled_set import LabelledSet, Place
from .left_out import examples

Report = Callable[[int, int], None]  # is called with the number of files done and the total number


def globox():
    """Import globox.

    Returns:
        The module.

    Raises:
        MissingPackageError: if it is not installed.
    """
    return module_or_advice("globox", "init")


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Turn what globox raises for a broken annotation file into an error that names the file.

    Args:
        path: of the file.

    Yields:
        None.

    Raises:
        ValueError: for any of globox's errors.
    """
    try:
        yield
    except Exception as error:  # globox raises KeyError, AssertionError, ... for contents that it does not expect
        if isinstance(error, ImportError):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"annotation cannot be read: {path}: {reason}") from error


def coco_set(
    annotations: Sequence,
    classes: Sequence[str],
    split: str,
    place: Place,
    labels: Mapping[str, str] | None = None,
    notes: tuple[str, ...] = (),
) -> LabelledSet:
    """Turn globox's annotations into a labelled set.

    Args:
        annotations: ``globox.Annotation`` of each image; their ``image_id`` is the file name.
        classes: names in the order of the labels.
        split: of the images.
        place: where MMDetection reads them.
        labels: names of the classes by globox's labels, where these are numbers.
        notes: see :class:`LabelledSet`.

    Returns:
        The set.

    Raises:
        ValueError: if an image has several annotations.
    """
    names = Counter(one.image_id for one in annotations)
    if repeated := [name for name, count in names.items() if count > 1]:
        raise ValueError(f"images with several annotation files: {examples(repeated)}; keep one of each")
    found = globox().AnnotationSet(annotations)
    if labels is not None:
        found.map_labels(labels)
    content = found.to_coco(
        label_to_id={name: number for number, name in enumerate(classes)},
        imageid_to_id={name: number for number, name in enumerate(sorted(found.image_ids), 1)},
    )
    for one in content["annotations"]:
        one["bbox"] = list(one["bbox"])
        one["id"] += 1  # globox starts at 0, which pycocotools' evaluation takes for "no object"
    return LabelledSet(
        split,
        tuple(sorted(content["images"], key=lambda one: one["id"])),
        tuple(content["annotations"]),
        tuple(content["categories"]),
        place,
        notes,
    )


def labels_of(annotations: Sequence) -> list[str]:
    """The labels of globox's annotations.

    Args:
        annotations: of images.

    Returns:
        The labels, sorted.
    """
    return sorted({box.label for one in annotations for box in one.boxes})
