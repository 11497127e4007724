"""Recognizes the form of the annotations of a folder."""

from __future__ import annotations

import csv
import functools
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from xml.etree import ElementTree

from .csv_columns import known_columns
from .folder_files import FolderFiles

# Each form and what is looked for.
FORMS = {
    "coco": "COCO (.json with images, annotations and categories)",
    "voc": "Pascal VOC (one .xml per image)",
    "yolo": "YOLO (one .txt per image with class x y width height)",
    "labelme": "LabelMe (one .json per image with shapes)",
    "csv": "CSV (.csv with columns for image, class, xmin, ymin, xmax and ymax)",
}
_SAMPLED = 20  # files per folder that are opened to recognize a form


def folder_form(files: FolderFiles, wanted: str | None = None) -> str:
    """Recognize the form of the annotations.

    Args:
        files: of the data folder.
        wanted: the form to use where there are several; one of ``FORMS``.

    Returns:
        One of ``FORMS``.

    Raises:
        ValueError: if there is no form, more than one, or not the wanted one.
    """
    found = {form: path for form in FORMS if (path := next(_annotations(files, form), None)) is not None}
    if wanted is not None:
        if wanted not in found:
            raise ValueError(f"no annotations in the form {FORMS[wanted]} in {files.root}; {_found(files)}")
        return wanted
    if not found:
        raise ValueError(
            f"no annotations of a known form in {files.root}; looked for {'; '.join(FORMS.values())}; {_found(files)}"
        )
    if len(found) > 1:
        named = ", ".join(f"{form} ({path})" for form, path in found.items())
        raise ValueError(f"several forms of annotations in {files.root}: {named}; choose one with --form")
    return next(iter(found))


def read_json(path: Path) -> object:
    """Read a JSON file.

    Args:
        path: of the file.

    Returns:
        Its content; None if it is not JSON.
    """
    return _json(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=4)  # a COCO file is recognized, then read
def _json(path: Path, changed: int) -> object:
    """The content of a file that was changed at a time, in nanoseconds."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return None


def coco_files(files: FolderFiles) -> list[Path]:
    """Find COCO's annotation files.

    Args:
        files: of the data folder.

    Returns:
        Paths relative to the root; of COCO's own files only ``instances_*.json``.
    """
    found = list(_annotations(files, "coco"))
    return [one for one in found if one.name.startswith("instances_")] or found


def _annotations(files: FolderFiles, form: str) -> Iterator[Path]:
    """Sampled annotation files of a form, relative to the root."""
    if form == "yolo":
        labelled = (one for one in files.ending(".txt") if files.images_of(one))
        yield from (one for one in _sampled(labelled) if _is_yolo(files.root / one))
    elif form == "voc":
        yield from (one for one in _sampled(files.ending(".xml")) if _is_voc(files.root / one))
    elif form == "csv":
        yield from (one for one in _sampled(files.ending(".csv")) if csv_header(files.root / one) is not None)
    else:
        keys = {"coco": {"images", "annotations", "categories"}, "labelme": {"shapes", "imagePath"}}[form]
        for one in _sampled(files.ending(".json")):
            content = read_json(files.root / one)
            if isinstance(content, dict) and keys <= set(content):
                yield one


def _sampled(paths: Iterable[Path]) -> Iterator[Path]:
    """The first files of each folder."""
    for _, group in groupby(paths, key=lambda one: one.parent):
        yield from list(group)[:_SAMPLED]


def _is_voc(path: Path) -> bool:
    try:
        return ElementTree.parse(path).getroot().tag == "annotation"
    except (ElementTree.ParseError, ValueError, LookupError):
        return False


def _is_yolo(path: Path) -> bool:
    """Whether each line is the number of a class and at least four numbers."""
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        return all(len(words) >= 5 and int(float(words[0])) >= 0 and all(map(_number, words)) for words in lines)
    except ValueError:
        return False


def _number(word: str) -> bool:
    float(word)  # raises ValueError
    return True


def csv_header(path: Path) -> dict[str, str] | None:
    """Read which columns of a table describe boxes.

    Args:
        path: of the table.

    Returns:
        See :func:`known_columns`.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            return known_columns(next(csv.reader(file), []))
    except (UnicodeDecodeError, csv.Error):
        return None


def _found(files: FolderFiles) -> str:
    """The kinds of files in the folder, for a message."""
    kinds = Counter(one.suffix.lower() or "no suffix" for one in files.files)
    return f"found {', '.join(f'{count} {kind}' for kind, count in kinds.most_common(5))}"
