"""Data of the gallery, which static/gallery.js draws: images, boxes, kinds of errors, side distributions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import PurePath

import numpy as np

from ..examined_image import Examination, ExaminedImage, SideBeliefs
from ..report_content import JudgedDetection, ModelReport
from .images import data_uri, read_image
from .shown_images import ShownImage

IMAGE_BYTES = 4_300_000  # of all images, encoded
MAX_IMAGE_BYTES = 80_000  # of one
DETECTION_BYTES = 3_400_000  # of all detections of all images and models
MIN_PER_IMAGE = 10  # detections that an image may always have


def gallery_data(
    shown: Sequence[ShownImage], examinations: Sequence[Examination], models: Sequence[ModelReport]
) -> dict:
    """Collect what the gallery draws.

    Args:
        shown: its images, in order.
        examinations: one per model.
        models: their reports, in the same order.

    Returns:
        Values for JSON. ``most``: how many detections an image may have per model. ``images``: name, path, size,
        ``src`` (None if the file cannot be read), ``objects`` and ``ignored`` (x1, y1, x2, y2, class), and ``seen`` per
        model: ``detections`` and ``missed`` objects, or None. A detection has ``n`` (its index), ``b`` (box), ``c``
        (class), ``s`` (score), ``k`` (kind), ``i`` (IoU), ``o`` (object) and, where the head gives them, ``d`` (the
        standard deviations), ``r`` (their mean, relative to the box), ``p`` (per side: first bin, then per mille of it
        and the next ones), ``g`` (origins) and ``z`` (scales).
    """
    classes = all_classes(examinations)
    numbers = [[classes.index(name) for name in examination.classes] for examination in examinations]
    most = _detections_per_image(shown, examinations, models, numbers)
    images = [_image(one, min(MAX_IMAGE_BYTES, IMAGE_BYTES // len(shown))) for one in shown]
    for data, one in zip(images, shown):
        first = next(model for model, place in enumerate(one.places) if place is not None)
        data["objects"] = _boxes(one.image.objects.boxes, one.image.objects.labels, numbers[first])
        data["ignored"] = _boxes(one.image.ignored.boxes, one.image.ignored.labels, numbers[first])
        data["seen"] = [
            None if place is None else _seen(examinations[model].images[place], models[model], place, own, most)
            for model, (place, own) in enumerate(zip(one.places, numbers))
        ]
    names = [{"name": one.name, "bins": _bins(one), "thirds": _thirds(images, m)} for m, one in enumerate(examinations)]
    return {"classes": classes, "models": names, "most": most, "images": images}


def all_classes(examinations: Sequence[Examination]) -> list[str]:
    """Names of the classes of all models, each once.

    Args:
        examinations: one per model.

    Returns:
        The names, in the order in which they occur.
    """
    return list(dict.fromkeys(name for examination in examinations for name in examination.classes))


def relative_std(std: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Standard deviations relative to the size of the box.

    Args:
        std: (N, 4) pixels: left, top, right, bottom.
        boxes: (N, 4) x1, y1, x2, y2.

    Returns:
        (N, 4): those of left and right by the width, those of top and bottom by the height, of at least one pixel.
    """
    size = np.maximum(boxes[:, 2:] - boxes[:, :2], 1.0)  # (N, 2)
    return std / np.tile(size, 2)


def _detections_per_image(
    shown: Sequence[ShownImage],
    examinations: Sequence[Examination],
    models: Sequence[ModelReport],
    numbers: Sequence[Sequence[int]],
) -> int:
    """How many detections per image and model fit into the page, from the size of the first one of each image."""
    sample = [
        len(json.dumps(_detection(examination.images[place], judged.detections[0], own), separators=(",", ":")))
        for one in shown
        for place, examination, model, own in zip(one.places, examinations, models, numbers)
        if place is not None
        for judged in [model.judged[place]]
        if judged.detections
    ]
    total = DETECTION_BYTES // max(1, round(sum(sample) / max(1, len(sample))) + 1)
    return max(MIN_PER_IMAGE, total // max(1, len(shown) * len(models)))


def _image(one: ShownImage, limit: int) -> dict:
    """The picture, with its size in pixels of the original image."""
    picture = read_image(one.image.path)
    return {
        "name": PurePath(one.image.path).name or f"image {one.image.image_id}",
        "path": one.image.path or "(the data set names no file)",
        "width": one.image.width,
        "height": one.image.height,
        "src": None if picture is None else data_uri(picture, limit),
    }


def _seen(image: ExaminedImage, model: ModelReport, place: int, numbers: Sequence[int], most: int) -> dict:
    """What a model finds and misses in an image: its best detections."""
    judged = model.judged[place]
    best = sorted(judged.detections, key=lambda one: -image.scores[one.detection])[:most]
    return {"detections": [_detection(image, one, numbers) for one in best], "missed": [int(n) for n in judged.missed]}


def _detection(image: ExaminedImage, judged: JudgedDetection, numbers: Sequence[int]) -> dict:
    """A detection, see :func:`gallery_data`."""
    row = judged.detection
    data = {
        "n": int(row),
        "b": _rounded(image.detections.boxes[row], 1),
        "c": numbers[int(image.detections.labels[row])],
        "s": round(float(image.scores[row]), 3),
        "k": judged.kind,
        "i": round(float(judged.iou), 3),
        "o": int(judged.object),
    }
    return data if image.sides is None else data | _sides(image.sides, image.detections.boxes, row)


def _sides(sides: SideBeliefs, boxes: np.ndarray, row: int) -> dict:
    """What the model says about the sides of a detection."""
    relative = relative_std(sides.std[row : row + 1], boxes[row : row + 1])[0]
    data = {"d": _rounded(sides.std[row], 2), "r": round(float(relative.mean()), 4)}
    if sides.probabilities is None or sides.origins is None or sides.scales is None:
        return data
    return data | {
        "p": [_run(one) for one in sides.probabilities[row]],
        "g": _rounded(sides.origins[row], 1),
        "z": _rounded(sides.scales[row], 3),
    }


def _run(probabilities: np.ndarray) -> list[int]:
    """The first bin with at least one per mille, then the per mille of it and the next ones up to the last such bin."""
    thousandths = np.rint(1000 * np.nan_to_num(probabilities)).astype(int)
    used = np.flatnonzero(thousandths)
    return [0] if not len(used) else [int(used[0]), *thousandths[used[0] : used[-1] + 1].tolist()]


def _boxes(boxes: np.ndarray, labels: np.ndarray, numbers: Sequence[int]) -> list[list[float]]:
    """Boxes with their classes."""
    return [[*_rounded(box, 1), numbers[int(label)]] for box, label in zip(boxes, labels)]


def _bins(examination: Examination) -> list[float] | None:
    return None if examination.bins is None else [round(float(one), 4) for one in examination.bins]


def _thirds(images: Sequence[dict], model: int) -> list[float] | None:
    """The relative standard deviations that divide the shown detections of a model into three equal parts."""
    seen = [image["seen"][model] for image in images if image["seen"][model] is not None]
    values = [one["r"] for own in seen for one in own["detections"] if "r" in one]
    return [round(float(one), 4) for one in np.quantile(values, (1 / 3, 2 / 3))] if len(values) >= 3 else None


def _rounded(values: np.ndarray, digits: int) -> list[float]:
    """Numbers for JSON, which has neither NaN nor infinity: those become 0."""
    return [round(float(one), digits) for one in np.nan_to_num(np.asarray(values, float), posinf=0.0, neginf=0.0)]
