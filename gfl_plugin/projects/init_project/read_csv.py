"""Reads tables of boxes; one row per object."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

from .converted_set import Report, coco_set, file_errors, globox, labels_of
from .folder_files import FolderFiles
from .folder_form import csv_header
from .labelled_set import LabelledSet, Place
from .picture_size import picture_size
from .split_names import split_of_path

_SIDES = ("xmin", "ymin", "xmax", "ymax")  # columns, see known_columns


def read_csv(files: FolderFiles, report: Report) -> list[LabelledSet]:
    """Read all tables of boxes in a folder.

    Args:
        files: of the data folder.
        report: is called after each image.

    Returns:
        One set per split that the names of the tables and of their folders stand for.

    Raises:
        ValueError: if a table or an image cannot be read.
    """
    rows: dict[str, dict[str, list[dict]]] = defaultdict(lambda: defaultdict(list))
    for table in files.ending(".csv"):
        if columns := csv_header(files.root / table):
            for image, row in _rows(files, table, columns):
                rows[split_of_path(table)][image].append(row)
    total, done, found = sum(map(len, rows.values())), 0, {}
    for split, of_image in rows.items():
        found[split] = []
        for image, objects in of_image.items():
            found[split].append(_annotation(files, image, objects))
            report(done := done + 1, total)
    classes = labels_of([one for images in found.values() for one in images])
    place = Place("coco", files.root)
    return [coco_set(images, classes, split, place) for split, images in found.items()]


def _rows(files: FolderFiles, table: Path, columns: dict[str, str]) -> list[tuple[str, dict]]:
    """Image and values of each row, by the names of :func:`known_columns`."""
    with file_errors(files.root / table), open(files.root / table, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        relative = "LabelName" in (reader.fieldnames or ())  # OpenImages' coordinates are parts of the image's size
        named = [{key: (row[heading] or "").strip() for key, heading in columns.items()} for row in reader]
        if not relative:
            _check_pixels(named)
    result = []
    for row in named:
        name = Path(row["image"].replace("\\", "/"))
        image = files.image_of(table, name)
        result.append((image.as_posix() if image else name.as_posix(), {**row, "relative": relative, "table": table}))
    return result


def _check_pixels(rows: list[dict[str, str]]) -> None:
    """Boxes of at most one pixel are parts of the image's size, which only OpenImages' tables may contain."""
    values = [float(row[side]) for row in rows for side in _SIDES if row[side]]
    if values and all(value <= 1 for value in values):
        raise ValueError(
            "no coordinate is larger than 1; they must be pixels: multiply x by the width and y by the height of each "
            "image"
        )


def _annotation(files: FolderFiles, image: str, rows: list[dict]):
    """``globox.Annotation`` of an image; rows without coordinates stand for images without objects."""
    path = files.root / image
    size = picture_size(path) if path.is_file() else None
    boxes = []
    for row in rows:
        sides = [row[side] for side in _SIDES]
        if not any(sides) or (row["relative"] and size is None):
            continue
        with file_errors(files.root / row["table"]):
            boxes.append(
                globox().BoundingBox.create(
                    label=row["label"],
                    coords=tuple(map(float, sides)),
                    relative=row["relative"],
                    image_size=size,
                )
            )
    return globox().Annotation(image, size, boxes)
