"""The metrics that a perfect ranking of the same boxes would give: the headroom that quality estimation leaves."""

from __future__ import annotations

from collections.abc import Sequence

from .coco_metrics import coco_metrics
from .error_kinds import ImageErrors
from .examined_image import ExaminedImage


def perfect_ranking(
    images: Sequence[ExaminedImage], errors: Sequence[ImageErrors], classes: Sequence[str]
) -> dict[str, float]:
    """Compute COCO's metrics of the boxes ranked by their true IoU.

    The score of each detection is its IoU with the object of its class that it overlaps most, 0 without one: what a
    head with a perfect quality estimate would say. Boxes and classes stay. Several boxes of one object all keep their
    IoU, as such a head cannot know which of them is the best: NMS has decided before.

    Args:
        images: the images, with at most 100 detections per class: of more, other ones would be counted.
        errors: what their detections are.
        classes: names of the classes.

    Returns:
        Percent by the names of METRICS.
    """
    return coco_metrics(images, classes, [own.own_iou for own in errors]).metrics
