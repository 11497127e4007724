"""Where the images of a study are: the embedded data set, BCCD, or COCO."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ...demo.dataset import DemoSize, make_dataset

Report = Callable[[int, int], None]  # called with the images made, and the images to make


class StudyData(Protocol):
    """A data set that the variants of a study are trained on."""

    variable: str | None  # environment variable that tells the configs its folder

    def locate(self, root: Path) -> Path:
        """The folder of the data, made or not.

        Args:
            root: folder for data that is made.

        Raises:
            FileNotFoundError: where data that has to be there is missing; the message says what to set.
        """

    def prepare(self, root: Path, report: Report) -> None:
        """Make the data where that is possible and not done.

        Args:
            root: folder for data that is made.
            report: called while data is made.
        """


@dataclass(frozen=True)
class EmbeddedData:
    """The demo's data set, made in seconds."""

    size: DemoSize
    seed: int = 0
    variable: str | None = "GFL_DEMO_DATA"

    def locate(self, root: Path) -> Path:
        """See :class:`StudyData`."""
        return (root / "data").resolve()

    def prepare(self, root: Path, report: Report) -> None:
        """See :class:`StudyData`; raises FileExistsError where the folder contains another data set."""
        make_dataset(self.locate(root), self.size, self.seed, report)


@dataclass(frozen=True)
class BccdData:
    """BCCD in the folder that GFL_DATA names."""

    variable: str | None = "GFL_DATA"

    def locate(self, root: Path) -> Path:
        """See :class:`StudyData`."""
        folder = Path(os.environ.get("GFL_DATA", "data"))
        if not any((folder / name / "ImageSets").is_dir() for name in ("BCCD", "bccd")):
            raise FileNotFoundError(
                f"there is no BCCD in {folder / 'bccd'} or {folder / 'BCCD'}; set GFL_DATA to the folder that contains "
                "one of them (JPEGImages, Annotations and ImageSets of github.com/Shenggan/BCCD_Dataset)"
            )
        return folder.resolve()

    def prepare(self, root: Path, report: Report) -> None:
        """See :class:`StudyData`; there is nothing to make."""


@dataclass(frozen=True)
class CocoData:
    """COCO where MMDetection's configs look for it."""

    variable: str | None = None

    def locate(self, root: Path) -> Path:
        """See :class:`StudyData`."""
        if not Path("data/coco/annotations").is_dir():
            raise FileNotFoundError(
                "there is no COCO in data/coco, where MMDetection's configs look for it; make data/coco a link to it"
            )
        return Path("data").resolve()

    def prepare(self, root: Path, report: Report) -> None:
        """See :class:`StudyData`; there is nothing to make."""
