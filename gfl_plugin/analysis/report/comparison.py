"""Two models on the same images: which objects one of them finds and the other does not."""

from __future__ import annotations

from collections import Counter

import numpy as np

from .examined_image import Examination
from .report_content import BOTH, NEITHER, Comparison, Difference, ModelReport
from .shown_detections import found_objects


def same_images(one: Examination, other: Examination) -> bool:
    """Whether two examinations have the same images with the same objects and classes, in the same order.

    Args:
        one: an examination.
        other: an examination.

    Returns:
        Whether they can be compared.
    """
    return (
        one.classes == other.classes
        and len(one.images) == len(other.images)
        and all(
            (mine.path, mine.image_id) == (others.path, others.image_id)
            and np.array_equal(mine.objects.boxes, others.objects.boxes)
            and np.array_equal(mine.objects.labels, others.objects.labels)
            for mine, others in zip(one.images, other.images)
        )
    )


def compare(one: ModelReport, other: ModelReport, examination: Examination) -> Comparison:
    """Compare two models, each at its own score threshold.

    Args:
        one: the first model.
        other: the second model, on the same images.
        examination: of one of them.

    Returns:
        The number of objects found by both, one or neither, and the objects that exactly one has found.
    """
    counts = Counter({BOTH: 0, one.name: 0, other.name: 0, NEITHER: 0})
    differences = []
    for number, (image, mine, others) in enumerate(zip(examination.images, one.judged, other.judged)):
        found, also = found_objects(mine), found_objects(others)
        counts[BOTH] += len(found & also)
        counts[NEITHER] += len(image.objects.labels) - len(found | also)
        for name, alone in ((one.name, found - also), (other.name, also - found)):
            counts[name] += len(alone)
            differences.extend(Difference(number, index, name) for index in sorted(alone))
    return Comparison((one.name, other.name), dict(counts), tuple(differences))
