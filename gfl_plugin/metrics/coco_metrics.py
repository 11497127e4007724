"""COCO's metrics of detections in memory, computed by pycocotools without files."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .matching import Boxes

# In the order of pycocotools' ``COCOeval.stats`` for boxes.
METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


@dataclass(frozen=True)
class ScoredImage:
    """An image with its labels and its detections."""

    objects: Boxes  # to be found
    ignored: Boxes  # crowds and difficult objects: detections there count neither as true nor as false
    detections: Boxes
    scores: np.ndarray  # (N,) of the detections


@dataclass(frozen=True)
class CocoMetrics:
    """Values in percent; NaN where one is not defined."""

    metrics: dict[str, float]  # by the names of METRICS
    per_class: dict[str, float]  # AP by name of the class


def coco_metrics(images: Sequence[ScoredImage], classes: Sequence[str]) -> CocoMetrics:
    """Compute COCO's metrics, with at most 100 detections per image and class.

    The size of an object is the area of its box, as in data sets without masks; COCO's own files have the area of the
    mask there, so that APs, APm and APl can differ from those of such a file.

    Args:
        images: the images.
        classes: names of the classes.

    Returns:
        The values.
    """
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its steps
        evaluation = COCOeval(_truth(images, classes), _found(images, classes), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # (IoU, recall, class): all sizes, 100 detections
    return CocoMetrics(
        metrics={name: _percent(value) for name, value in zip(METRICS, evaluation.stats)},
        per_class={name: _percent(precision[:, :, i].mean()) for i, name in enumerate(classes)},
    )


def _percent(value: float) -> float:
    return 100 * float(value) if value >= 0 else float("nan")  # pycocotools gives -1 where there are no objects


def _truth(images: Sequence[ScoredImage], classes: Sequence[str]):
    entries = []
    for number, image in enumerate(images):
        for boxes, crowd in ((image.objects, 0), (image.ignored, 1)):
            entries.extend({**one, "iscrowd": crowd} for one in _entries(number, boxes))
    return _coco(len(images), classes, entries)


def _found(images: Sequence[ScoredImage], classes: Sequence[str]):
    entries = []
    for number, image in enumerate(images):
        found = _entries(number, image.detections)
        entries.extend({**one, "iscrowd": 0, "score": score} for one, score in zip(found, image.scores.tolist()))
    return _coco(len(images), classes, entries)


def _entries(image: int, boxes: Boxes) -> list[dict]:
    """Annotations without ids; the images are numbered from 0, the categories are the class indices."""
    sizes = boxes.boxes[:, 2:] - boxes.boxes[:, :2]
    corners = np.concatenate([boxes.boxes[:, :2], sizes], axis=1).tolist()
    columns = zip(boxes.labels.tolist(), corners, sizes.prod(axis=1).tolist())
    return [{"image_id": image, "category_id": label, "bbox": box, "area": area} for label, box, area in columns]


def _coco(images: int, classes: Sequence[str], entries: list[dict]):
    from pycocotools.coco import COCO

    for number, entry in enumerate(entries):
        entry["id"] = number + 1  # 0 would count as "no match" in pycocotools
    coco = COCO()
    coco.dataset = {
        "images": [{"id": number} for number in range(images)],
        "categories": [{"id": number, "name": name} for number, name in enumerate(classes)],
        "annotations": entries,
    }
    coco.createIndex()
    return coco
