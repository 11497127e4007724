"""The detections that a report shows: those above the score threshold at which a model would be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from .error_kinds import ImageErrors, missed_objects
from .examined_image import ExaminedImage
from .report_content import CORRECT, IGNORED, JudgedDetection, JudgedImage


def score_threshold(images: Sequence[ExaminedImage], errors: Sequence[ImageErrors]) -> float:
    """The threshold with the highest F1 of precision and recall at an IoU of 0.5, over all classes together.

    Errors at this threshold are those that a user of the model would see; most detections of a data set have tiny
    scores, and only count in AP.

    Args:
        images: the images.
        errors: what their detections are.

    Returns:
        A score; of equal F1, the highest. If no detection has found an object, the score above which there are as many
        detections as objects, or, without objects, as images. 0 without detections.
    """
    used = [own.kinds != IGNORED for own in errors]
    scores = np.concatenate([image.scores[rows] for image, rows in zip(images, used)])
    if not len(scores):
        return 0.0
    true = np.concatenate([own.kinds[rows] == CORRECT for own, rows in zip(errors, used)])
    objects = sum(len(image.objects.labels) for image in images)
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], np.cumsum(true[order])
    if not hits[-1]:
        return float(scores[min(objects or len(images), len(scores)) - 1])
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + objects)
    last_of_score = np.append(scores[1:] < scores[:-1], True)  # a threshold divides only different scores
    return float(scores[np.where(last_of_score, f1, -1).argmax()])


def judged_images(
    images: Sequence[ExaminedImage], errors: Sequence[ImageErrors], threshold: float
) -> tuple[JudgedImage, ...]:
    """The shown detections and the objects that they miss.

    Detections below the threshold do not change the kinds of those above it, which are matched before them.

    Args:
        images: the images.
        errors: what their detections are.
        threshold: lowest score of a detection that is shown.

    Returns:
        One entry per image.
    """
    return tuple(_judged(number, image, own, threshold) for number, (image, own) in enumerate(zip(images, errors)))


def _judged(number: int, image: ExaminedImage, errors: ImageErrors, threshold: float) -> JudgedImage:
    count = int((image.scores >= threshold).sum())  # scores are falling
    kinds, objects, iou = errors.kinds[:count], errors.objects[:count], errors.iou[:count]
    columns = zip(range(count), kinds.tolist(), iou.tolist(), objects.tolist())
    detections = tuple(JudgedDetection(index, kind, own, about) for index, kind, own, about in columns)
    missed = missed_objects(kinds, objects, len(image.objects.labels))
    return JudgedImage(number, detections, tuple(missed.tolist()))


def shown_counts(judged: Sequence[JudgedImage]) -> Counter[str]:
    """Count the shown errors.

    Args:
        judged: the images.

    Returns:
        Number of detections of each kind, and of missed objects.
    """
    counts = Counter(one.kind for image in judged for one in image.detections)
    counts["missed"] = sum(len(image.missed) for image in judged)
    return counts


def found_objects(judged: JudgedImage) -> set[int]:
    """The objects of an image that a shown detection has found.

    Args:
        judged: the image.

    Returns:
        Indices of objects.
    """
    return {one.object for one in judged.detections if one.kind == CORRECT}
