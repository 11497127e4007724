"""Writes the annotation files that MMDetection needs and the data does not have."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...runtime.atomic_files import write_whole
from .labelled_set import LabelledSet


def write_data(sets: Sequence[LabelledSet], folder: Path) -> list[LabelledSet]:
    """Write a COCO file or a list of images for each split that has none.

    Args:
        sets: of a project.
        folder: to write into; it is created if a file is written.

    Returns:
        The sets, each with an annotation file.

    Raises:
        FileExistsError: if the folder exists and would be written to.
    """
    if all(one.place.ann_file for one in sets):
        return list(sets)
    if folder.exists():
        raise FileExistsError(f"{folder} exists; remove it, or name another config with -o")
    folder.mkdir(parents=True)
    return [one if one.place.ann_file else _written(one, folder) for one in sets]


def _written(found: LabelledSet, folder: Path) -> LabelledSet:
    if found.place.form == "voc":
        path = folder / f"{found.split}.txt"
        content = "".join(f"{Path(one['file_name']).stem}\n" for one in found.images)
    else:
        path = folder / f"{found.split}.json"
        content = json.dumps(
            dict(images=found.images, annotations=found.annotations, categories=found.categories), ensure_ascii=False
        )
    write_whole(path, content)
    return replace(found, place=replace(found.place, ann_file=path))
