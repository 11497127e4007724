"""Suspect labels with a picture of the wrong edge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np

from ..examined_image import Examination, ExaminedImage
from ..report_content import SIDES, SuspectLabel
from .images import around, data_uri, read_image

MAX_SUSPECTS = 60  # per model
CROPS_BYTES = 900_000  # pictures of all models, encoded
MAX_CROP_BYTES = 9_000  # of one
# The direction in which the label lies from the prediction, by side and by whether its coordinate is larger.
_WHERE = {
    "left": ("to the left", "to the right"),
    "right": ("to the left", "to the right"),
    "top": ("above", "below"),
    "bottom": ("above", "below"),
}


@dataclass(frozen=True)
class SuspectCard:
    """What the page shows of a suspect label. Boxes and positions are in pixels of the original image."""

    rank: int  # 1 is the worst
    model: int
    shown: int  # index of the image on the page, -1 if it is not shown
    detection: int
    name: str  # of the image
    path: str
    class_name: str
    side: str
    labelled: float
    predicted: float
    margin: float  # of the interval around the prediction
    beyond: float
    suspicion: float
    iou: float
    score: float
    where: str  # direction from prediction to label
    crop: tuple[int, int, int, int]  # x, y, width, height of the picture
    picture: str | None  # data URI
    label_box: tuple[float, ...]
    found_box: tuple[float, ...]
    label_edge: tuple[float, float, float, float]  # x1, y1, x2, y2 of the line
    found_edge: tuple[float, float, float, float]
    interval: tuple[float, float, float, float]  # x, y, width, height of the band


def suspect_cards(
    model: int, examination: Examination, suspects: Sequence[SuspectLabel], shown: dict[int, int], models: int
) -> list[SuspectCard]:
    """Prepare the worst suspect labels of a model.

    Args:
        model: its number.
        examination: its images.
        suspects: worst first.
        shown: index on the page by index in the examination.
        models: number of models in the report, whose pictures share ``CROPS_BYTES``.

    Returns:
        One card each, at most ``MAX_SUSPECTS``.
    """
    limit = min(MAX_CROP_BYTES, CROPS_BYTES // (models * MAX_SUSPECTS))
    return [
        _card(rank, model, examination, one, shown.get(one.image, -1), limit)
        for rank, one in enumerate(suspects[:MAX_SUSPECTS], start=1)
    ]


def _card(
    rank: int, model: int, examination: Examination, suspect: SuspectLabel, shown: int, limit: int
) -> SuspectCard:
    image = examination.images[suspect.image]
    label, found = image.objects.boxes[suspect.object], image.detections.boxes[suspect.detection]
    margin = abs(suspect.labelled - suspect.predicted) / suspect.suspicion if suspect.suspicion > 0 else 0.0
    left, top, right, bottom = around([label, found], image.width, image.height)
    return SuspectCard(
        rank=rank,
        model=model,
        shown=shown,
        detection=suspect.detection,
        name=PurePath(image.path).name or f"image {image.image_id}",
        path=image.path or "(the data set names no file)",
        class_name=examination.classes[int(image.objects.labels[suspect.object])],
        side=suspect.side,
        labelled=suspect.labelled,
        predicted=suspect.predicted,
        margin=margin,
        beyond=suspect.beyond,
        suspicion=suspect.suspicion,
        iou=suspect.iou,
        score=float(image.scores[suspect.detection]),
        where=_WHERE[suspect.side][suspect.labelled > suspect.predicted],
        crop=(left, top, right - left, bottom - top),
        picture=_picture(image, (left, top, right, bottom), limit),
        label_box=_rectangle(label),
        found_box=_rectangle(found),
        label_edge=_edge(label, suspect.side, suspect.labelled),
        found_edge=_edge(found, suspect.side, suspect.predicted),
        interval=_band(found, suspect.side, suspect.predicted, margin),
    )


def _picture(image: ExaminedImage, part: tuple[int, int, int, int], limit: int) -> str | None:
    """The part of the image as a data URI, None if the file cannot be read."""
    whole = read_image(image.path)
    if whole is None:
        return None
    if whole.size != (image.width, image.height):  # the data set has scaled it
        whole = whole.resize((image.width, image.height))
    return data_uri(whole.crop(part), limit)


def _rectangle(box: np.ndarray) -> tuple[float, ...]:
    """x, y, width, height."""
    x1, y1, x2, y2 = (float(one) for one in box)
    return round(x1, 1), round(y1, 1), round(max(x2 - x1, 0), 1), round(max(y2 - y1, 0), 1)


def _edge(box: np.ndarray, side: str, position: float) -> tuple[float, float, float, float]:
    """The line of a side."""
    x1, y1, x2, y2 = (round(float(one), 1) for one in box)
    at = round(float(position), 1)
    return (at, y1, at, y2) if SIDES.index(side) % 2 == 0 else (x1, at, x2, at)


def _band(box: np.ndarray, side: str, position: float, margin: float) -> tuple[float, float, float, float]:
    """The interval around a side."""
    x, y, width, height = _rectangle(box)
    low, size = round(position - margin, 1), round(2 * margin, 1)
    return (low, y, size, height) if SIDES.index(side) % 2 == 0 else (x, low, width, size)
