"""Annotations of a dataset as written in its files, before MMDetection filters them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MAX_PIXELS = 1 << 30  # per image, the limit of OpenCV, with which MMDetection reads images

Identifier = int | str


@dataclass(frozen=True)
class Box:
    """One annotated object."""

    name: str  # class name
    x1: float  # pixels, as are y1, x2 and y2; NaN if the annotation is not a number
    y1: float
    x2: float
    y2: float


@dataclass(frozen=True)
class Image:
    """One annotated image."""

    name: str  # file name in the annotations
    path: Path
    width: int  # pixels, from the annotations; 0 if they have no valid size
    height: int  # pixels; 0 if width is 0
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class Annotations:
    """The annotations of a dataset."""

    source: str  # the annotation file, or the list of images
    images: tuple[Image, ...]
    duplicates: tuple[str, ...]  # identifiers that occur more than once
    orphans: tuple[str, ...] = ()  # objects of images that are not listed
    broken: tuple[str, ...] = ()  # entries with missing or wrong values, each with the reasons
    entries: int = 0  # total number, including broken ones
    shortest_side: float = 0.0  # pixels; MMDetection's dataset drops boxes with a shorter side
