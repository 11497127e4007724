"""Reads a folder of labelled images in any known form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .converted_set import Report
from .folder_files import FolderFiles
from .folder_form import folder_form
from .labelled_set import LabelledSet
from .read_coco import read_coco
from .read_csv import read_csv
from .read_labelme import read_labelme
from .read_voc import read_voc
from .read_yolo import read_yolo
from .set_checks import check_sets
from .split_images import split_images

_READERS: dict[str, Callable[[FolderFiles, Report], list[LabelledSet]]] = {
    "coco": read_coco,
    "voc": read_voc,
    "yolo": read_yolo,
    "labelme": read_labelme,
    "csv": read_csv,
}


@dataclass(frozen=True)
class FolderData:
    """What a folder contains."""

    form: str  # of the annotations
    sets: tuple[LabelledSet, ...]  # "train", "val" and possibly "test"
    notes: tuple[str, ...]  # what a user should know, one line each


def read_folder(root: Path, form: str | None, seed: int, report: Report) -> FolderData:
    """Read a folder, split it if it is not split, and check it.

    Args:
        root: the folder, absolute.
        form: of the annotations, where there are several; else None.
        seed: of the validation split.
        report: is called with the number of files done and the total number.

    Returns:
        The data.

    Raises:
        OSError: if the folder does not exist or is empty.
        ValueError: if the data cannot be used; the message is one line.
    """
    files = FolderFiles.of(root)
    found = folder_form(files, form)
    sets, of_split = split_images(_READERS[found](files, report), seed)
    notes = (*(note for one in sets for note in one.notes), *of_split, *check_sets(sets))
    return FolderData(found, tuple(sets), tuple(dict.fromkeys(notes)))
