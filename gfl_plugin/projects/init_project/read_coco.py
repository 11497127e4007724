"""Reads COCO's files, which MMDetection reads where they lie."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from .converted_set import Report, file_errors
from .folder_files import FolderFiles
from .folder_form import coco_files, read_json
from .labelled_set import LabelledSet, Place
from .left_out import examples, left_out
from .split_names import split_of_path


def read_coco(files: FolderFiles, report: Report) -> list[LabelledSet]:
    """Read the COCO files of a folder.

    Args:
        files: of the data folder.
        report: is called after each file.

    Returns:
        One set per split that the names of the files and of their folders stand for.

    Raises:
        ValueError: if a file cannot be read, several are of one split, or their classes differ.
    """
    by_split: dict[str, list[Path]] = {}
    for path in coco_files(files):
        by_split.setdefault(split_of_path(path), []).append(path)
    notes: tuple[str, ...] = ()
    if len(by_split) > 1:
        notes = left_out("COCO files whose name says no split", by_split.pop("", []))
    for split, paths in by_split.items():
        if len(paths) > 1:
            raise ValueError(
                f"{len(paths)} COCO files {f'for {split}' if split else 'without a split in their name'}: "
                f"{examples(paths)}; keep one, or name a folder that has one"
            )
    found = []
    for number, (split, (path,)) in enumerate(by_split.items(), 1):
        found.append(_set(files, split, path, notes))
        report(number, len(by_split))
    for one in found[1:]:
        if one.classes != found[0].classes:  # labels are numbered in the order of the file
            raise ValueError(
                f"the categories of {found[0].place.ann_file} and {one.place.ann_file} differ: "
                f"{examples(found[0].classes)} ({len(found[0].classes)}) and {examples(one.classes)} "
                f"({len(one.classes)}); they must have the same names in the same order"
            )
    return found


def _set(files: FolderFiles, split: str, path: Path, notes: tuple[str, ...]) -> LabelledSet:
    content = read_json(files.root / path)
    with file_errors(files.root / path):
        images = tuple(
            {**one, "width": int(one["width"]), "height": int(one["height"]), "file_name": str(one["file_name"])}
            for one in content["images"]
        )
        categories = tuple({**one, "name": str(one["name"])} for one in content["categories"])
        if repeated := [name for name, count in Counter(one["name"] for one in categories).items() if count > 1]:
            raise ValueError(f"several categories have the same name: {examples(repeated)}")
        annotations = tuple(dict(one) for one in content["annotations"] if len(one["bbox"]) == 4)
        _check_references(images, annotations, categories)
    root = _image_folder(files, path, [one["file_name"] for one in images])
    return LabelledSet(split, images, annotations, categories, Place("coco", root, files.root / path), notes)


def _check_references(images: tuple[dict, ...], annotations: tuple[dict, ...], categories: tuple[dict, ...]) -> None:
    """Each object must be of a listed image and category: MMDetection drops others without a warning."""
    known = {one["id"] for one in categories}
    if unknown := sorted({one["category_id"] for one in annotations} - known):
        raise ValueError(f"objects of categories that are not listed: {examples(unknown)}")
    listed = {one["id"] for one in images}
    if orphans := [one["image_id"] for one in annotations if one["image_id"] not in listed]:
        raise ValueError(
            f"{len(orphans)} of {len(annotations)} objects belong to images that are not listed, such as image_id "
            f"{orphans[0]!r}; correct image_id, which must equal the id of an image, or delete these objects"
        )


def _image_folder(files: FolderFiles, annotation: Path, names: list[str]) -> Path:
    """The folder that contains most of the images under the names in the annotations."""
    if not names:
        return files.root
    here = set(files.images)
    first = {one: one.as_posix() for one in here}
    # The images of a name lie in the folder that its path leaves when the name is removed from its end.
    sampled = names[:: max(1, len(names) // 50)]
    folders = Counter(
        text[: -len(name)].rstrip("/")
        for name in sampled
        for text in first.values()
        if text == name or text.endswith(f"/{name}")
    )
    nearest = annotation.parent.as_posix()
    best = max(
        folders,
        key=lambda folder: (folders[folder], split_of_path(Path(folder)) == split_of_path(annotation)),
        default=nearest,
    )
    return files.root / best
