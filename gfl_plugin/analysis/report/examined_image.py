"""What one detector found in one labelled image: the input of all parts of the report."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...metrics.matching import Boxes


@dataclass(frozen=True)
class SideBeliefs:
    """What a head with uncertainty says about the sides of the detections of an image: left, top, right, bottom."""

    std: np.ndarray  # (N, 4) standard deviations in pixels of the original image
    # (N, 4, n+1) probabilities of the bins; None for sides without bins, whose distribution is a normal one.
    probabilities: np.ndarray | None = None
    # (N, 4) pixel coordinate of distance 0 of each side, x, y, x, y: the location that predicted the box.
    origins: np.ndarray | None = None
    # (N, 4) pixels per unit of distance, negative for left and top: a bin d is at origins + d * scales.
    scales: np.ndarray | None = None


@dataclass(frozen=True)
class ExaminedImage:
    """An image with its labels and the detections of one detector.

    Boxes are x1, y1, x2, y2 in pixels of the original image. Detections have falling scores, and are finite.
    """

    path: str  # of the file; "" if the data set does not name it
    image_id: int | str  # as in the data set
    width: int  # pixels
    height: int
    objects: Boxes  # to be found
    ignored: Boxes  # crowds and difficult objects: detections there count neither as true nor as false
    detections: Boxes
    scores: np.ndarray  # (N,) float64 in [0, 1]
    sides: SideBeliefs | None = None  # None if the head gives none


@dataclass(frozen=True)
class Examination:
    """All images of a data set as one detector sees them."""

    name: str  # of the model, unique in a report
    config: str  # path
    checkpoint: str  # path
    head: str  # one line: type, quality, box coder
    classes: tuple[str, ...]
    bins: tuple[float, ...] | None  # distances of the bins in strides, None without bins
    images: tuple[ExaminedImage, ...]
    missing: tuple[str, ...] = ()  # one sentence per part that this model cannot have, and why
