"""Moves one side of some annotated boxes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Shift:
    """A side of a box that was moved."""

    box: int  # index of the box
    side: int  # index of left, top, right, bottom
    original: float  # coordinate before, in pixels
    shifted: float  # coordinate after


@dataclass(frozen=True)
class ShiftLaw:
    """Which boxes get a wrong side, and how far it is moved."""

    share: float = 0.05  # of the boxes
    low: float = 0.1  # smallest shift, in parts of the box's width (left, right) or height (top, bottom)
    high: float = 0.4  # largest shift


def shift_sides(boxes: np.ndarray, sizes: np.ndarray, law: ShiftLaw, random: np.random.Generator) -> tuple[Shift, ...]:
    """Choose boxes, and move one side of each outward or inward.

    Side, direction and distance are uniform among those that keep the side in the image.

    Args:
        boxes: (N, 4) x1, y1, x2, y2 in pixels, inside their images.
        sizes: (N, 2) width and height of the image of each box.
        law: of the shifts.
        random: source of random numbers.

    Returns:
        One per chosen box.
    """
    chosen = random.choice(len(boxes), size=round(law.share * len(boxes)), replace=False)
    return tuple(_shift(int(box), boxes[box], sizes[box], law, random) for box in np.sort(chosen))


def _shift(index: int, box: np.ndarray, size: np.ndarray, law: ShiftLaw, random: np.random.Generator) -> Shift:
    while True:  # an inward shift is always possible
        side = int(random.integers(4))
        axis = side % 2
        distance = random.uniform(law.low, law.high) * (box[2 + axis] - box[axis]) * random.choice([-1, 1])
        if 0 <= box[side] + distance <= size[axis]:
            return Shift(index, side, float(box[side]), float(box[side] + distance))
