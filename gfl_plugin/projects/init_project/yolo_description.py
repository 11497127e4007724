"""What a YOLO folder says about its classes and splits: ``data.yaml``, ``classes.txt`` and their variants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from .folder_files import FolderFiles
from .left_out import examples
from .split_names import SPLITS

_NAME_FILES, _NAME_SUFFIXES = ("classes.txt", "predefined_classes.txt"), (".names", ".labels")


@dataclass(frozen=True)
class YoloDescription:
    """Names of the classes, and images of each split."""

    source: str  # the file that names the classes; "" if there is none
    names: tuple[str, ...] | None  # None if there are none
    splits: Mapping[str, list[Path]] = field(default_factory=dict)  # images, relative to the root; empty if not given
    notes: tuple[str, ...] = ()


def yolo_description(files: FolderFiles) -> YoloDescription:
    """Read the description of a YOLO folder.

    Args:
        files: of the data folder.

    Returns:
        The description; without names if there is no file with names.

    Raises:
        ValueError: if the description is wrong: a missing path, or ``nc`` that is not the number of names.
    """
    for path in files.ending(".yaml", ".yml"):
        content = _yaml(files.root / path)
        if isinstance(content, dict) and "names" in content:
            names = _names(path, content)
            splits, notes = _without_copies(path, _splits(files, path, content))
            return YoloDescription(str(path), names, splits, notes)
    for path in files.files:
        if path.name in _NAME_FILES or path.suffix in _NAME_SUFFIXES:
            lines = (files.root / path).read_text(encoding="utf-8").splitlines()
            return YoloDescription(str(path), tuple(line.strip() for line in lines if line.strip()))
    note = "no data.yaml or classes.txt names the classes; they are called class_0, class_1, ..."
    return YoloDescription("", None, notes=(note,))


def _yaml(path: Path) -> object:
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from error


def _names(path: Path, content: Mapping) -> tuple[str, ...]:
    """The names in a list, or in a dict by the number of the class."""
    names = content["names"]
    if isinstance(names, Mapping):
        missing = [number for number in range(len(names)) if number not in names]
        if missing:
            raise ValueError(f"{path}: names has no name for class {examples(missing)}")
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list):
        raise ValueError(f"{path}: names is {names!r}; it must be a list of class names")
    if content.get("nc") not in (None, len(names)):
        raise ValueError(f"{path}: nc is {content['nc']}, but there are {len(names)} names; make them agree")
    return tuple(map(str, names))


def _splits(files: FolderFiles, path: Path, content: Mapping) -> dict[str, list[Path]]:
    """The images of each split that is given."""
    found = {}
    for split in SPLITS:
        entries = content.get(split) or (content.get("valid") if split == "val" else None)
        if not entries:
            continue
        entries = [entries] if isinstance(entries, str) else entries
        images = [one for entry in entries for one in _images(files, path, content.get("path"), split, str(entry))]
        found[split] = sorted(set(images))
    return found


def _images(files: FolderFiles, path: Path, base: object, split: str, entry: str) -> list[Path]:
    """The images of a folder, or of a list of images."""
    known = set(files.files)
    for place in _places(path, base, entry):
        inside = [one for one in files.images if place in one.parents]
        if inside:
            return inside
        if place in known and place.suffix == ".txt":
            lines = (files.root / place).read_text(encoding="utf-8").splitlines()
            named = [_places(place, base, line.strip()) for line in lines if line.strip()]
            images = [next((one for one in places if one in known), None) for places in named]
            if missing := [line for line, one in zip(lines, images) if one is None]:
                raise ValueError(f"{place} names {len(missing)} images that do not exist: {examples(missing)}")
            return [one for one in images if one is not None]
    raise ValueError(f"{path}: {split} is {entry!r}, and no such folder of images or list exists in {files.root}")


def _places(path: Path, base: object, entry: str) -> list[Path]:
    """Where an entry of ``data.yaml`` may lie, relative to the root, the likeliest first.

    Such files name folders of another computer, or relative to another folder: the beginning of the path is ignored as
    long as nothing is found.
    """
    own, before = _parts(entry), _parts(base) if isinstance(base, str) else []
    parts = before + own
    least = min(2, len(own))  # `images` alone is not the place of valid/images
    tails = [Path(*parts[start:]) for start in range(len(parts) - least + 1)]
    return [folder / tail for tail in tails for folder in dict.fromkeys((path.parent, Path()))]


def _parts(path: str) -> list[str]:
    return [part for part in PurePosixPath(path.replace("\\", "/")).parts if part not in ("/", ".", "..")]


def _without_copies(path: Path, splits: dict[str, list[Path]]) -> tuple[dict[str, list[Path]], tuple[str, ...]]:
    """Remove splits that are the training images again, as in COCO128, so that a new one is made."""
    copies = [split for split in ("val", "test") if split in splits and splits[split] == splits.get("train")]
    note = f"{path} names the images of train also for {' and '.join(copies)}"
    return {key: value for key, value in splits.items() if key not in copies}, (note,) if copies else ()
