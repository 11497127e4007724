"""COCO's metrics of examined images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...metrics import coco_metrics as in_memory
from ...metrics.coco_metrics import METRICS, CocoMetrics, ScoredImage
from .examined_image import ExaminedImage

__all__ = ["METRICS", "CocoMetrics", "coco_metrics"]


def coco_metrics(
    images: Sequence[ExaminedImage], classes: Sequence[str], scores: Sequence[np.ndarray] | None = None
) -> CocoMetrics:
    """Compute COCO's metrics, see :func:`gfl_plugin.metrics.coco_metrics.coco_metrics`.

    Args:
        images: the images.
        classes: names of the classes.
        scores: for each image the (N,) scores of its detections, in place of their own.

    Returns:
        The values.
    """
    scores = [image.scores for image in images] if scores is None else scores
    return in_memory.coco_metrics(
        [ScoredImage(image.objects, image.ignored, image.detections, own) for image, own in zip(images, scores)],
        classes,
    )
