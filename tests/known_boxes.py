"""Images whose middle pixel says which image they are, and maps with which a network finds known boxes in them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx_graphs import Head
from PIL import Image

STEP = 20  # grey levels between images
_SURE = 9.0  # logit of a found class; that of all others is negative
_NEVER = -40.0  # logit of a bin without probability

# From x, y in pixels of an image of a width and a height to pixels of the input.
ToInput = Callable[[float, float, int, int], tuple[float, float]]


@dataclass(frozen=True)
class KnownImage:
    """An image with its objects."""

    width: int  # pixels
    height: int
    objects: tuple[tuple[int, tuple[float, float, float, float]], ...]  # label, and x1, y1, x2, y2 in pixels


def made_images(count: int, classes: int, seed: int = 0) -> list[KnownImage]:
    """Images of different shapes, with one to three objects of at least 30 pixels that hardly overlap."""
    random, images = np.random.default_rng(seed), []
    for number in range(count):
        width, height = (int(one) for one in random.integers(150, 400, 2))
        objects = []
        for column in range(1 + number % 3):
            left, right = ((column + share) * width / 3 for share in (0.05, 0.9))
            top, bottom = random.uniform(0.05, 0.3) * height, random.uniform(0.5, 0.95) * height
            objects.append((int(random.integers(classes)), (left, top, right, bottom)))
        images.append(KnownImage(width, height, tuple(objects)))
    return images


def write_images(images: Sequence[KnownImage], folder: Path, first_channel: str) -> None:
    """Write them: image number i has the value i * STEP in the network's first channel."""
    folder.mkdir()
    for number, image in enumerate(images):
        color = (number * STEP, 128, 255 - number * STEP)
        color = color if first_channel == "red" else color[::-1]
        Image.new("RGB", (image.width, image.height), color).save(folder / f"{number}.png")


def write_labels(images: Sequence[KnownImage], path: Path, names: Sequence[str]) -> None:
    """Write them in COCO's format."""
    boxes = [(number, label, box) for number, image in enumerate(images) for label, box in image.objects]
    content = dict(
        images=[
            dict(id=number, file_name=f"{number}.png", width=image.width, height=image.height)
            for number, image in enumerate(images)
        ],
        categories=[dict(id=number + 1, name=name) for number, name in enumerate(names)],
        annotations=[
            dict(
                id=number + 1,
                image_id=image,
                category_id=label + 1,
                bbox=[x1, y1, x2 - x1, y2 - y1],
                area=(x2 - x1) * (y2 - y1),
                iscrowd=0,
            )
            for number, (image, label, (x1, y1, x2, y2)) in enumerate(boxes)
        ],
    )
    path.write_text(json.dumps(content))


def known_maps(
    images: Sequence[KnownImage], head: Head, offset: float, to_input: ToInput
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Per level, scores (N, C, H, W) and sides (N, 4 * bins, H, W), logits with which a head finds the objects."""
    maps = [
        (
            np.full((len(images), head.classes, *cells), -_SURE, np.float32),
            np.zeros((len(images), 4 * head.bins, *cells), np.float32),
        )
        for cells in head.cells()
    ]
    for number, image in enumerate(images):
        for label, (x1, y1, x2, y2) in image.objects:
            left, top = to_input(x1, y1, image.width, image.height)
            right, bottom = to_input(x2, y2, image.width, image.height)
            level, (x, y), distances = _place((left, top, right, bottom), head, offset)
            maps[level][0][number, label, y, x] = _SURE
            maps[level][1][number, :, y, x] = np.concatenate([_two_bins(one, head.bins) for one in distances])
    return maps


def _place(
    box: tuple[float, ...], head: Head, offset: float
) -> tuple[int, tuple[int, int], tuple[float, float, float, float]]:
    """The finest level from which all sides can be reached, the cell in the middle, and the distances in strides."""
    left, top, right, bottom = box
    for level, (stride, (rows, columns)) in enumerate(zip(head.strides, head.cells())):
        x = min(max(round((left + right) / 2 / stride - offset), 0), columns - 1)
        y = min(max(round((top + bottom) / 2 / stride - offset), 0), rows - 1)
        center = (x + offset) * stride, (y + offset) * stride
        distances = center[0] - left, center[1] - top, right - center[0], bottom - center[1]
        distances = tuple(one / stride for one in distances)
        if min(distances) >= 0 and max(distances) < head.bins - 1:
            return level, (x, y), distances
    raise AssertionError(f"no level reaches the sides of {box}")


def _two_bins(distance: float, bins: int) -> np.ndarray:
    """Logits of a distribution over the two bins around a distance, whose mean it is."""
    first = math.floor(distance)
    logits = np.full(bins, _NEVER)
    for place, share in ((first, first + 1 - distance), (first + 1, distance - first)):
        if share > 1e-12:
            logits[place] = math.log(share)
    return logits
