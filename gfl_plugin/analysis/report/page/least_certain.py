"""The least certain sides of a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

import numpy as np

from ..examined_image import Examination
from ..report_content import SIDES, ModelReport
from .gallery import relative_std

COUNT = 10


@dataclass(frozen=True)
class UncertainSide:
    """A side of a shown detection."""

    place: int  # of the image in the examination
    detection: int
    name: str  # of the image
    class_name: str
    score: float
    side: str
    std: float  # pixels
    relative: float  # to the width or height of the box


def least_certain(examination: Examination, model: ModelReport) -> list[UncertainSide]:
    """Find the sides whose standard deviation is largest relative to the box, one per detection.

    Args:
        examination: images of the model.
        model: its report, which says which detections are shown.

    Returns:
        At most ``COUNT``, least certain first.
    """
    found = []
    for judged in model.judged:
        image = examination.images[judged.image]
        rows = np.array([one.detection for one in judged.detections], int)
        if image.sides is None or not len(rows):
            continue
        relative = np.nan_to_num(relative_std(image.sides.std[rows], image.detections.boxes[rows]))  # (N, 4)
        worst = relative.max(axis=1)
        found += [(worst[n], judged.image, int(rows[n]), int(relative[n].argmax())) for n in range(len(rows))]
        found = sorted(found, reverse=True)[:COUNT]
    return [_named(examination, *one) for one in found]


def _named(examination: Examination, relative: float, place: int, row: int, side: int) -> UncertainSide:
    image = examination.images[place]
    return UncertainSide(
        place=place,
        detection=row,
        name=PurePath(image.path).name or f"image {image.image_id}",
        class_name=examination.classes[int(image.detections.labels[row])],
        score=float(image.scores[row]),
        side=SIDES[side],
        std=float(image.sides.std[row, side]),
        relative=float(relative),
    )
