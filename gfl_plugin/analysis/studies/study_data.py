"""Datasets of studies: the embedded dataset, BCCD, and COCO."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ...demo.dataset import DemoSize, make_dataset

Report = Callable[[int, int], None]  # is called with the number of generated images and the total number


class StudyData(Protocol):
    """The dataset on which the variants of a study are trained."""

    variable: str | None  # environment variable from which the configs read its folder

    def locate(self, root: Path) -> Path:
        """Locate the folder of the data; generated data may not exist yet.

        Args:
            root: folder for generated data.

        Returns:
            The folder.

        Raises:
            FileNotFoundError: if data is missing that cannot be generated; the message names the setting.
        """

    def prepare(self, root: Path, report: Report) -> None:
        """Generate the data if that is possible and they do not exist.

        Args:
            root: folder for generated data.
            report: function that is called with the progress.
        """


@contextlib.contextmanager
def environment_variable(name: str, value: object) -> Iterator[None]:
    """Set an environment variable while configs that read it are loaded.

    Args:
        name: name of the variable.
        value: its value, written as text.

    Yields:
        None; then the variable has its old value again.
    """
    before = os.environ.get(name)
    os.environ[name] = str(value)
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@dataclass(frozen=True)
class EmbeddedData:
    """The dataset of the demo, generated in seconds."""

    size: DemoSize
    seed: int = 0
    variable: str | None = "GFL_DEMO_DATA"

    def locate(self, root: Path) -> Path:
        """See :class:`StudyData`."""
        return (root / "data").resolve()

    def prepare(self, root: Path, report: Report) -> None:
        """See :class:`StudyData`; raises FileExistsError if the folder contains another dataset."""
        make_dataset(self.locate(root), self.size, self.seed, report)


@dataclass(frozen=True)
class BccdData:
    """BCCD in the folder of the environment variable GFL_DATA."""

    variable: str | None = "GFL_DATA"

    def locate(self, root: Path) -> Path:
        """See :class:`StudyData`."""
        folder = Path(os.environ.get("GFL_DATA", "data"))
        if not any((folder / name / "ImageSets").is_dir() for name in ("BCCD", "bccd")):
            raise FileNotFoundError(
                f"BCCD not found in {folder / 'bccd'} or {folder / 'BCCD'}; set GFL_DATA to the folder that contains "
                "one of them (JPEGImages, Annotations and ImageSets of github.com/Shenggan/BCCD_Dataset)"
            )
        return folder.resolve()

    def prepare(self, root: Path, report: Report) -> None:
        """See :class:`StudyData`; the data cannot be generated."""


@dataclass(frozen=True)
class CocoData:
    """COCO in ``data/coco``, the folder in MMDetection's configs."""

    variable: str | None = None

    def locate(self, root: Path) -> Path:
        """See :class:`StudyData`."""
        if not Path("data/coco/annotations").is_dir():
            raise FileNotFoundError(
                "COCO not found in data/coco, the folder in MMDetection's configs; create a link data/coco to your copy"
            )
        return Path("data").resolve()

    def prepare(self, root: Path, report: Report) -> None:
        """See :class:`StudyData`; the data cannot be generated."""
