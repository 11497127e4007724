"""What an examination needs of a model and its labelled images; there is one class for each kind of model file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from .examined_image import ExaminedImage
from .readable_images import Unreadable


@dataclass(frozen=True)
class AboutModel:
    """What a report says about a model beside its detections; see :class:`Examination`."""

    config: str
    checkpoint: str
    head: str
    classes: tuple[str, ...]
    bins: tuple[float, ...] | None
    missing: tuple[str, ...]


@dataclass(frozen=True)
class ExaminedBatch:
    """Some images."""

    images: dict[int, ExaminedImage]  # by their numbers in the data set
    unreadable: tuple[Unreadable, ...]  # the others


class ImageSource(Protocol):
    """A model that is loaded, and the labelled images to examine."""

    about: AboutModel
    images: str  # name of the data set for messages
    fingerprint: str  # of all that changes the examined images: config or layout, weights, labels, files

    def __len__(self) -> int:
        """Number of images."""

    def examined(self, numbers: Sequence[int]) -> Iterator[ExaminedBatch]:
        """Predict images.

        Args:
            numbers: of the images.

        Returns:
            The images, in their order.
        """

    def path(self, number: int) -> str:
        """Name an image.

        Args:
            number: of the image.

        Returns:
            Path of its file.
        """


class Subject(Protocol):
    """A model and the images to examine, before anything is loaded."""

    name: str  # of the model, unique in a report
    split: str  # name of the images

    def open(self) -> ImageSource:
        """Load the model and the labels.

        Returns:
            The source.
        """
