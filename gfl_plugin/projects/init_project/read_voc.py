"""Reads Pascal VOC's files; one per image, with lists of the images of each split in ``ImageSets/Main``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath

from .converted_set import Report, coco_set, file_errors, globox, labels_of
from .folder_files import FolderFiles
from .labelled_set import LabelledSet, Place
from .left_out import examples, left_out
from .split_names import SPLITS, split_of_folders


def read_voc(files: FolderFiles, report: Report) -> list[LabelledSet]:
    """Read all XML files.

    MMDetection reads a split where it lies if its annotations are in one folder and its images, which must end with
    ``.jpg``, in another one.

    Args:
        files: of the data folder.
        report: is called after each file.

    Returns:
        One set per split of the lists, else of the folders.

    Raises:
        ValueError: if a file cannot be read, or a list names an image without annotations.
    """
    paths = files.ending(".xml")
    lists = _split_lists(files)
    annotations, images = {}, {}
    for number, path in enumerate(paths, 1):
        with file_errors(files.root / path):
            annotation = globox().Annotation.from_xml(files.root / path)
        images[path] = _image(files, path, annotation.image_id)
        annotations[path] = annotation.with_image_id(images[path].as_posix())
        report(number, len(paths))
    groups = _listed(files, lists, paths) if lists else _by_folder(paths)
    classes = labels_of(list(annotations.values()))
    labelled = set(images.values())
    unlabelled = [one for one in files.images if one not in labelled]
    notes = left_out("images without an .xml file", unlabelled)
    result = []
    for split, members in groups.items():
        place = _native_place(files, {one: images[one] for one in members}, lists.get(split))
        of_split = [annotations[one] for one in members]
        if place.form == "voc":  # names relative to the folder of the images
            of_split = [one.with_image_id(Path(one.image_id).name) for one in of_split]
        result.append(coco_set(of_split, classes, split, place, notes=notes))
    return result if len({one.place.form for one in result}) == 1 else [_as_coco(one) for one in result]


def _image(files: FolderFiles, annotation: Path, name: str) -> Path:
    """The image with the name of the annotation file: the name inside is often that of another image, but its suffix
    tells an image from a mask."""
    named = PurePath(annotation.stem + PurePath(name).suffix)
    return files.image_of(annotation, named) or files.image_of(annotation) or _expected_image(annotation, name)


def _expected_image(annotation: Path, name: str) -> Path:
    """Where the missing image of an annotation is expected."""
    folder = annotation.parent
    return (folder.parent / "JPEGImages" if folder.name == "Annotations" else folder) / Path(name).name


def _split_lists(files: FolderFiles) -> dict[str, Path]:
    """The list of images of each split, relative to the root; train.txt is preferred to trainval.txt."""
    found: dict[str, Path] = {}
    for path in files.ending(".txt"):
        if path.parts[-3:-1] == ("ImageSets", "Main") and path.stem in (*SPLITS, "trainval"):
            split = "train" if path.stem == "trainval" else path.stem
            if split in found and found[split].parent != path.parent:
                raise ValueError(
                    f"several Pascal VOC folders: {found[split].parents[2]} and {path.parents[2]}; name one of them"
                )
            if path.stem != "trainval" or split not in found:
                found[split] = path
    return found


def _listed(files: FolderFiles, lists: Mapping[str, Path], paths: Sequence[Path]) -> dict[str, list[Path]]:
    """The XML files of each split."""
    of_stem = {one.stem: one for one in paths}
    groups = {}
    for split, path in lists.items():
        names = list_names(files.root / path)
        if missing := [one for one in names if one not in of_stem]:
            raise ValueError(f"{path} names {len(missing)} images without an .xml file: {examples(missing)}")
        groups[split] = [of_stem[one] for one in names]
    return groups


def list_names(path: Path) -> list[str]:
    """Read a list of images.

    Args:
        path: of the list; each line starts with a name without suffix.

    Returns:
        The names.
    """
    return [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _by_folder(paths: Sequence[Path]) -> dict[str, list[Path]]:
    groups = defaultdict(list)
    for one in paths:
        groups[split_of_folders(one)].append(one)
    return groups


def _native_place(files: FolderFiles, images: Mapping[Path, Path], listed: Path | None) -> Place:
    """The place for MMDetection's XMLDataset if it can read the split, else for a COCO file."""
    folders = {(annotation.parent, image.parent) for annotation, image in images.items()}
    fits = all(image.suffix == ".jpg" and image.stem == annotation.stem for annotation, image in images.items())
    if len(folders) != 1 or not fits:
        return Place("coco", files.root)
    ((of_annotations, of_images),) = folders
    lines = (files.root / listed).read_text(encoding="utf-8").splitlines() if listed else []
    usable = listed and lines == list_names(files.root / listed)  # MMDetection takes each line for a name
    return Place(
        "voc", files.root, files.root / listed if usable else None, of_images.as_posix(), of_annotations.as_posix()
    )


def _as_coco(found: LabelledSet) -> LabelledSet:
    """A set for a COCO file, where MMDetection can read only other splits."""
    if found.place.form == "coco":
        return found
    folder = Path(found.place.images)
    images = tuple({**one, "file_name": (folder / one["file_name"]).as_posix()} for one in found.images)
    return replace(found, images=images, place=Place("coco", found.place.root))
