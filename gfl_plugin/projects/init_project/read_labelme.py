"""Reads LabelMe's files; one per image."""

from __future__ import annotations

from collections import defaultdict
from pathlib import PureWindowsPath

from .converted_set import Report, coco_set, file_errors, globox, labels_of
from .folder_files import FolderFiles
from .folder_form import read_json
from .labelled_set import LabelledSet, Place
from .left_out import left_out
from .split_names import split_of_folders

_SHAPES = ("rectangle", "polygon")  # globox reads these
_OTHER = "shapes other than rectangles and polygons, in files"


def read_labelme(files: FolderFiles, report: Report) -> list[LabelledSet]:
    """Read the rectangles of all files, and the boxes around their polygons.

    Args:
        files: of the data folder.
        report: is called after each file.

    Returns:
        One set per split that the names of the folders stand for.

    Raises:
        ValueError: if a file cannot be read.
    """
    found, used, other = defaultdict(list), set(), []
    paths = files.ending(".json")
    for number, path in enumerate(paths, 1):
        content = read_json(files.root / path)
        if isinstance(content, dict) and "shapes" in content:
            with file_errors(files.root / path):
                annotation = globox().Annotation.from_labelme(files.root / path, include_poly=True)
                other += [path] if any(one["shape_type"] not in _SHAPES for one in content["shapes"]) else []
            named = PureWindowsPath(annotation.image_id)  # also splits names with /
            image = files.image_of(path, named) or files.image_of(path)
            used.add(image)
            name = image.as_posix() if image else (path.parent / named.name).as_posix()
            found[split_of_folders(path)].append(annotation.with_image_id(name))
        report(number, len(paths))
    unlabelled = [one for one in files.images if one not in used]
    notes = (*left_out("images without a file of their own", unlabelled), *left_out(_OTHER, other))
    classes = labels_of([one for images in found.values() for one in images])
    place = Place("coco", files.root)
    return [coco_set(images, classes, split, place, notes=notes) for split, images in found.items()]
