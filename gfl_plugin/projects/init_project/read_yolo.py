"""Reads YOLO's files; one per image, with the names of the classes in ``data.yaml`` or ``classes.txt``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from .converted_set import Report, coco_set, file_errors, globox, labels_of
from .folder_files import FolderFiles
from .labelled_set import LabelledSet, Place
from .left_out import examples
from .picture_size import picture_size
from .split_names import split_of_folders
from .yolo_description import YoloDescription, yolo_description


def read_yolo(files: FolderFiles, report: Report) -> list[LabelledSet]:
    """Read the labels of all images; an image without a file of labels has no objects.

    Args:
        files: of the data folder.
        report: is called after each image.

    Returns:
        One set per split of ``data.yaml``, else of the folders.

    Raises:
        ValueError: if a file cannot be read, or a class has no name.
    """
    described = yolo_description(files)
    labels_of_image = _label_files(files)
    groups = described.splits or _by_folder(files.images)
    unlabelled_splits = [
        name for name, images in groups.items() if name != "test" and not any(one in labels_of_image for one in images)
    ]
    if unlabelled_splits:
        raise ValueError(
            f"no image of {' and '.join(filter(None, unlabelled_splits)) or 'the folder'} has a file of labels (.txt)"
        )
    total, done, found = sum(map(len, groups.values())), 0, {}
    for split, images in groups.items():
        found[split] = []
        for image in images:
            found[split].append(_annotation(files, image, labels_of_image.get(image)))
            report(done := done + 1, total)
    names = _class_names(described, labels_of([one for images in found.values() for one in images]))
    unlabelled = sum(one not in labels_of_image for images in groups.values() for one in images)
    notes = described.notes
    if unlabelled:
        notes += (f"{unlabelled} images have no file of labels; they are used as images without objects",)
    place = Place("coco", files.root)
    by_label = {str(number): name for number, name in enumerate(names)}
    return [coco_set(images, names, split, place, by_label, notes) for split, images in found.items()]


def _label_files(files: FolderFiles) -> dict[Path, Path]:
    """The file of labels of each image, relative to the root.

    Raises:
        ValueError: if a file in a folder of labels belongs to no image, or several belong to one.
    """
    found, alone = defaultdict(list), []
    for path in files.ending(".txt"):
        image = files.image_of(path)
        if image is not None:
            found[image].append(path)
        elif "labels" in path.parts[:-1] and path.stem not in ("classes", "train", "val", "test"):
            alone.append(path)
    if alone:
        raise ValueError(f"{len(alone)} files of labels have no image: {examples(alone)}")
    if repeated := [f"{image} ({', '.join(map(str, paths))})" for image, paths in found.items() if len(paths) > 1]:
        raise ValueError(f"images with several annotation files: {examples(repeated)}; keep one of each")
    return {image: paths[0] for image, paths in found.items()}


def _by_folder(images: Sequence[Path]) -> dict[str, list[Path]]:
    groups = defaultdict(list)
    for one in images:
        groups[split_of_folders(one)].append(one)
    return groups


def _annotation(files: FolderFiles, image: Path, labels: Path | None):
    """``globox.Annotation`` of an image, whose labels are numbers."""
    size = picture_size(files.root / image)
    boxes = []
    if labels is not None:
        with file_errors(files.root / labels):
            lines = (files.root / labels).read_text(encoding="utf-8").splitlines()
            boxes = [_box(line, size) for line in lines if line.strip()]
            if any(max(box.xmax / size[0], box.ymax / size[1]) > 2 for box in boxes):
                raise ValueError("coordinates are larger than 1; YOLO's are parts of the size of the image")
    return globox().Annotation(image.as_posix(), size, boxes)


def _box(line: str, size: tuple[int, int]):
    """A line with a box, a box and a score, or a polygon."""
    kind = globox().BoundingBox
    if len(line.split()) > 6:
        box = kind.from_yolo_seg(line, image_size=size)
    else:
        box = kind.from_yolo_v5(line, image_size=size)
    box.label = str(int(float(box.label)))
    box.confidence = None  # of a prediction that is used as a label
    return box


def _class_names(described: YoloDescription, labels: Sequence[str]) -> list[str]:
    """The names of the classes; made up where there are none."""
    numbers = sorted(map(int, labels))
    if described.names is None:
        return [f"class_{number}" for number in range(numbers[-1] + 1 if numbers else 0)]
    if numbers and numbers[-1] >= len(described.names):
        beyond = [number for number in numbers if number >= len(described.names)]
        raise ValueError(
            f"labels with class {examples(beyond)}, but {described.source} names {len(described.names)} classes, 0 to "
            f"{len(described.names) - 1}; add the missing names, or correct the labels (YOLO counts from 0)"
        )
    return list(described.names)
