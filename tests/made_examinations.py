"""Small examinations with random objects and detections, for tests of the report."""

from __future__ import annotations

import numpy as np

from gfl_plugin.analysis.report.examined_image import Examination, ExaminedImage, SideBeliefs
from gfl_plugin.metrics.matching import Boxes

CLASSES = ("a", "b", "c")
NOTHING = Boxes(np.zeros((0, 4)), np.zeros(0, np.int64))


def boxes(rows: list, labels: list) -> Boxes:
    """Boxes of a list."""
    return Boxes(np.array(rows, np.float64).reshape(-1, 4), np.array(labels, np.int64))


def image(
    objects: Boxes, detections: Boxes, scores: list | np.ndarray, ignored: Boxes = NOTHING, number: int = 0
) -> ExaminedImage:
    """An image of 300 pixels without beliefs about sides."""
    return ExaminedImage(
        f"images/{number}.jpg", number, 300, 300, objects, ignored, detections, np.array(scores, np.float64)
    )


def random_image(random: np.random.Generator, number: int, sides: bool = False, crowds: bool = False) -> ExaminedImage:
    """Objects, detections near them, some of another class, and of nothing; errors of sides grow with std."""
    count = int(random.integers(0, 7))
    corner, size = random.uniform(0, 200, (count, 2)), random.uniform(15, 90, (count, 2))
    objects = Boxes(np.concatenate([corner, corner + size], axis=1), random.integers(0, len(CLASSES), count))
    near = np.repeat(np.arange(count), random.integers(0, 4, count))
    std = random.uniform(0.5, 12, (len(near), 4))
    found = objects.boxes[near] + random.normal(size=std.shape) * std
    labels = np.where(random.random(len(near)) < 0.8, objects.labels[near], random.integers(0, len(CLASSES), len(near)))
    nothing = random.uniform(0, 200, (int(random.integers(0, 4)), 2))
    found = np.concatenate([found, np.concatenate([nothing, nothing + random.uniform(15, 90, nothing.shape)], axis=1)])
    found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
    labels = np.concatenate([labels, random.integers(0, len(CLASSES), len(nothing))])
    std = np.concatenate([std, random.uniform(0.5, 12, (len(nothing), 4))])
    order = random.permutation(len(found))
    ignored = Boxes(np.array([[0.0, 0.0, 120.0, 120.0]]), np.array([0])) if crowds and number % 2 else NOTHING
    return ExaminedImage(
        path=f"images/{number}.jpg",
        image_id=number,
        width=300,
        height=300,
        objects=objects,
        ignored=ignored,
        detections=Boxes(found[order], labels[order]),
        scores=np.sort(random.random(len(found)))[::-1].copy(),
        sides=SideBeliefs(std[order]) if sides else None,
    )


def random_images(seed: int, count: int = 40, **settings: bool) -> tuple[ExaminedImage, ...]:
    """Some of them."""
    random = np.random.default_rng(seed)
    return tuple(random_image(random, number, **settings) for number in range(count))


def examination(images: tuple[ExaminedImage, ...], name: str = "model") -> Examination:
    """An examination of them."""
    return Examination(name, f"{name}.py", f"{name}.pth", "GFLHead", CLASSES, None, tuple(images))
