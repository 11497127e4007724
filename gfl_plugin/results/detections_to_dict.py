"""Detections of an image as numbers that JSON can hold."""

from __future__ import annotations

from mmdet.structures import DetDataSample
from mmdet.structures.bbox import get_box_tensor

from ..structures.side_fields import SIDE_FIELDS


def side_fields_to_lists(data_sample: DetDataSample) -> dict[str, list]:
    """The fields about box sides that the detections of an image have.

    Args:
        data_sample: with ``pred_instances``.

    Returns:
        Those of ``SIDE_FIELDS`` that the detections have: nested lists, one entry per detection.
    """
    found = data_sample.pred_instances
    return {name: found[name].tolist() for name in SIDE_FIELDS if name in found}


def detections_to_dict(data_sample: DetDataSample) -> dict[str, list]:
    """The detections of an image as MMDetection's ``DetInferencer`` returns them, with the fields about box sides.

    Args:
        data_sample: with ``pred_instances``, as ``DetInferencer(..., return_datasamples=True)`` returns it.

    Returns:
        ``labels``, ``scores``, ``bboxes`` (x1, y1, x2, y2 in pixels) and, where the detections have them, ``bbox_std``
        (left, top, right, bottom in pixels), ``bbox_distributions``, ``bbox_points``, ``bbox_inner`` and ``bbox_outer``
        (as ``bboxes``): lists with one entry per detection.
    """
    found = data_sample.pred_instances
    return {
        "labels": found.labels.tolist(),
        "scores": found.scores.tolist(),
        "bboxes": get_box_tensor(found.bboxes).tolist(),
        **side_fields_to_lists(data_sample),
    }
