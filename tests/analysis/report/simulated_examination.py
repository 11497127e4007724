"""Made examinations: labels, detections whose errors have the predicted deviations, and labels with a shifted side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gfl_plugin.analysis.report.examined_image import Examination, ExaminedImage, SideBeliefs
from gfl_plugin.metrics.matching import Boxes

CLASSES = ("cell", "plate")


@dataclass(frozen=True)
class Shifted:
    """A label that was made wrong."""

    image: int
    object: int
    side: int  # index of left, top, right, bottom
    original: float  # pixel coordinate before the shift


def simulated(
    seed: int, images: int = 60, shifted: float = 0.0, certain: bool = True, noise: float = 1.0
) -> tuple[Examination, list[Shifted]]:
    """An examination with one detection per object, and the labels that were shifted by 30 % of the box's size."""
    random, shifting, found, shifts = np.random.default_rng(seed), np.random.default_rng(seed), [], []
    for number in range(images):
        count = int(random.integers(2, 7))
        corner, size = (
            np.arange(count)[:, None] * 150 + random.uniform(0, 9, (count, 2)),
            random.uniform(40, 120, (count, 2)),
        )
        true = np.concatenate([corner, corner + size], axis=1)
        std = noise * random.uniform(0.5, 3, (count, 4)) * random.uniform(0.5, 1.5, (count, 1))
        predicted = true + random.normal(size=std.shape) * std
        for row in np.flatnonzero(shifting.random(count) < shifted):
            side = int(shifting.integers(4))
            shifts.append(Shifted(number, int(row), side, float(true[row, side])))
            true[row, side] += shifting.choice([-0.3, 0.3]) * size[row, side % 2]
        labels = random.integers(0, 2, count)
        crowd = Boxes(np.array([[0.0, 500.0, 30.0, 540.0]]), np.array([1]))
        detections, scores = Boxes(predicted, labels), np.sort(random.random(count))[::-1]
        sides = SideBeliefs(std) if certain else None
        path, name = f"/data/folder {number % 2}/{number}.jpg", f"id {number}"
        found.append(ExaminedImage(path, name, 1000, 1000, Boxes(true, labels), crowd, detections, scores, sides))
    return Examination("model", "c.py", "c.pth", "head", CLASSES, None, tuple(found)), shifts
