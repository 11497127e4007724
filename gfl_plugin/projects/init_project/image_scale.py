"""Chooses the size to which images are resized, from the sizes of their objects."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from dataclasses import dataclass

from .labelled_set import LabelledSet

SMALLEST_OBJECT = 32  # pixels, square root of the area; smaller ones are "small" in COCO's evaluation
_SHORTEST, _STEP = 320, 32  # pixels: shortest longer side, and the divisor of image sizes
_ENLARGED = 2  # images are enlarged at most so many times
_TENTH = 0.1
_ENOUGH = 10  # objects for a median of their class


@dataclass(frozen=True)
class ImageScale:
    """The longer side of the images in the network."""

    side: int  # pixels
    reason: str  # one sentence


def image_scale(train: LabelledSet, longest: int) -> ImageScale:
    """Choose the longer side such that nine of ten objects, and half of those of each class, are not small.

    Args:
        train: training images with their objects.
        longest: largest longer side, in pixels, which limits time and memory.

    Returns:
        The choice.
    """
    smallest, which = _smallest_typical(train)
    largest = max(max(one["width"], one["height"]) for one in train.images)
    limited = min(max(_SHORTEST, SMALLEST_OBJECT / smallest), longest, max(_SHORTEST, _ENLARGED * largest))
    side = math.ceil(limited / _STEP) * _STEP
    reached = smallest * side
    return ImageScale(
        side, f"{which} of at least {reached:.0f}x{reached:.0f} px in the network; files: up to {largest} px"
    )


def _smallest_typical(train: LabelledSet) -> tuple[float, str]:
    """Square root of an area in longer sides of its image that typical objects exceed, and which objects these are."""
    sides = {one["id"]: max(one["width"], one["height"]) for one in train.images}
    names = {one["id"]: one["name"] for one in train.categories}
    of_class = defaultdict(list)
    for one in train.annotations:
        if min(one["bbox"][2:]) > 0 and one["image_id"] in sides:
            of_class[names[one["category_id"]]].append(math.sqrt(math.prod(one["bbox"][2:])) / sides[one["image_id"]])
    every = sorted(size for sizes in of_class.values() for size in sizes)
    if not every:
        return 1.0, "No objects have sizes"
    candidates = [(every[int(_TENTH * len(every))], "Nine of ten objects have sizes")]
    candidates += [
        (statistics.median(sizes), f"Half of the objects of {name} have sizes")
        for name, sizes in of_class.items()
        if len(sizes) >= _ENOUGH
    ]
    return min(candidates)
