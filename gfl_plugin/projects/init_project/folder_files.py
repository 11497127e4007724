"""The files of a data folder, listed once."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from pathlib import Path, PurePath

from .left_out import examples

IMAGES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"))  # OpenCV reads them
# Folders of images by the folder of their annotations, as YOLO and Pascal VOC prescribe; lower case.
_IMAGE_FOLDERS = {"labels": ("images",), "annotations": ("jpegimages", "images")}


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

    def image_of(self, annotation: Path, named: PurePath | None = None) -> Path | None:
        """Find the image that an annotation belongs to.

        Args:
            annotation: see :meth:`images_of`.
            named: see :meth:`images_of`.

        Returns:
            The image; None if there is no image of that name.

        Raises:
            ValueError: if several images agree equally well with the annotation.
        """
        found = self.images_of(annotation, named)
        if len(found) > 1:
            what = annotation if named is None else f"{named.name} in {annotation}"
            raise ValueError(
                f"several images belong to {what}: {examples(found)}; give them different names, or keep only one of "
                f"them in {self.root}"
            )
        return found[0] if found else None

    def images_of(self, annotation: Path, named: PurePath | None = None) -> list[Path]:
        """Find the images that agree best with an annotation.

        An image must have the name without suffix. Of several, those with the suffix in ``named`` are preferred, then
        those in the folder that the form prescribes, such as images/train/a.jpg for labels/train/a.txt, then those with
        the most folders in common, then those beside the annotation.

        Args:
            annotation: its file, relative to the root.
            named: the image as the annotation names it; its folders may be those of another computer. None if the
                annotation names no image: then it has the name of the annotation file.

        Returns:
            The images, relative to the root; usually one.
        """
        stem, folder = annotation.stem, annotation.parent
        if named is not None:
            stem = named.stem if named.suffix.lower() in IMAGES else named.name
            folder = folder.joinpath(*named.parent.parts[bool(named.anchor) :])
        ranks = {
            one: (named is not None and one.name == named.name, *_agreement(folder, one.parent))
            for one in self._images_of_stem.get(stem, ())
        }
        best = max(ranks.values(), default=None)
        return [one for one, rank in ranks.items() if rank == best]


def _agreement(annotations: Path, images: Path) -> tuple[bool, int, bool]:
    """Whether the form prescribes this folder of images, the number of common folders, whether both are the same."""
    place = Path(os.path.normpath(annotations))
    pairs = zip_longest(*([part.lower() for part in one.parts] for one in (place, images)))
    fits = all(image == folder or image in _IMAGE_FOLDERS.get(folder, ()) for folder, image in pairs)
    same = place == images
    return fits and not same, len(set(annotations.parts) & set(images.parts)), same


def _similar(missing: Path) -> str:
    """The folders beside a missing one, for a message."""
    beside = missing.parent
    if not beside.is_dir():
        return f"; {beside} does not exist either"
    names = sorted(one.name for one in beside.iterdir() if one.is_dir() and not one.name.startswith("."))
    return f"; folders in {beside}: {', '.join(names[:8])}" if names else ""
