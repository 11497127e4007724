"""The files of a data folder, listed once."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

IMAGES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"))  # OpenCV reads them


@dataclass(frozen=True)
class FolderFiles:
    """A folder and the files below it, without hidden ones."""

    root: Path
    files: tuple[Path, ...]  # relative to the root, sorted

    @staticmethod
    def of(root: Path) -> FolderFiles:
        """List a folder.

        Args:
            root: the folder.

        Returns:
            Its files.

        Raises:
            FileNotFoundError: if it does not exist or is empty.
            NotADirectoryError: if it is a file.
        """
        if not root.exists():
            raise FileNotFoundError(f"folder not found: {root}{_similar(root)}")
        if not root.is_dir():
            raise NotADirectoryError(f"{root} is a file; name the folder that contains images and annotations")
        found, seen = [], set()
        for folder, folders, names in os.walk(root, followlinks=True):
            if os.path.realpath(folder) in seen:  # a link to a folder above it
                folders.clear()
                continue
            seen.add(os.path.realpath(folder))
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            found += [Path(folder, name).relative_to(root) for name in names if not name.startswith(".")]
        if not found:
            raise FileNotFoundError(f"{root} is empty; name the folder that contains images and annotations")
        return FolderFiles(root, tuple(sorted(found)))

    def ending(self, *suffixes: str) -> list[Path]:
        """The files with some suffixes.

        Args:
            *suffixes: lower case, with the dot.

        Returns:
            Paths relative to the root.
        """
        return [one for one in self.files if one.suffix.lower() in suffixes]

    @cached_property
    def images(self) -> list[Path]:
        """The image files, relative to the root."""
        return self.ending(*IMAGES)

    @cached_property
    def _images_of_stem(self) -> dict[str, list[Path]]:
        found = defaultdict(list)
        for one in self.images:
            found[one.stem].append(one)
        return found

    def image_of(self, annotation: Path, stem: str | None = None) -> Path | None:
        """Find the image that an annotation file belongs to.

        Args:
            annotation: relative to the root.
            stem: name of the image without suffix; that of the annotation file if None.

        Returns:
            The image of that name whose folders agree best with those of the annotation, such as images/train/a.jpg for
            labels/train/a.txt; None if there is no image of that name.
        """
        candidates = self._images_of_stem.get(annotation.stem if stem is None else stem, [])
        folders = set(annotation.parts[:-1])
        return max(candidates, key=lambda one: len(folders & set(one.parts[:-1])), default=None)


def _similar(missing: Path) -> str:
    """The folders beside a missing one, for a message."""
    beside = missing.parent
    if not beside.is_dir():
        return f"; {beside} does not exist either"
    names = sorted(one.name for one in beside.iterdir() if one.is_dir() and not one.name.startswith("."))
    return f"; folders in {beside}: {', '.join(names[:8])}" if names else ""
