"""The labelled images of one split, whatever form they have on the disk."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class Place:
    """Where MMDetection reads a split."""

    form: str  # "coco" or "voc"
    root: Path  # "coco": folder of the image names; "voc": folder of the two subfolders
    ann_file: Path | None = None  # COCO file, or list of image names; None if it must be written
    images: str = ""  # "voc": subfolder of the images
    annotations: str = ""  # "voc": subfolder of the annotations


@dataclass(frozen=True)
class LabelledSet:
    """Images and their objects as in a COCO file."""

    split: str  # "train", "val" or "test"; "" if the data is not split
    images: tuple[dict, ...]  # id, file_name (relative to place.root), width, height
    annotations: tuple[dict, ...]  # id, image_id, category_id, bbox (x, y, width, height; pixels)
    categories: tuple[dict, ...]  # id, name; in the order of the labels
    place: Place
    notes: tuple[str, ...] = ()  # what was left out, and why

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the labels."""
        return tuple(one["name"] for one in self.categories)

    def path(self, image: dict) -> Path:
        """The file of an image.

        Args:
            image: one of ``images``.

        Returns:
            The path; it may not exist.
        """
        return self.place.root / self.place.images / image["file_name"]

    def subset(self, split: str, ids: Iterable[int | str]) -> LabelledSet:
        """Keep some images and their objects.

        Args:
            split: name of the new set.
            ids: of the images to keep.

        Returns:
            The new set, whose annotation file must be written.
        """
        kept = frozenset(ids)
        return replace(
            self,
            split=split,
            images=tuple(one for one in self.images if one["id"] in kept),
            annotations=tuple(one for one in self.annotations if one["image_id"] in kept),
            place=replace(self.place, ann_file=None),
        )
