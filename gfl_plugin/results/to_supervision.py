"""Detections for supervision, Roboflow's package of annotators, trackers and filters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmdet.structures import DetDataSample
from mmdet.structures.bbox import get_box_tensor

from ..runtime.install_advice import module_or_advice
from ..structures.side_fields import SIDE_FIELDS

if TYPE_CHECKING:
    import supervision


def to_supervision(data_sample: DetDataSample) -> supervision.Detections:
    """Detections of an image as ``supervision.Detections``.

    Args:
        data_sample: with ``pred_instances``, as MMDetection's detectors return it.

    Returns:
        Boxes, scores and class indices; ``data`` has ``bbox_std`` (N, 4), ``bbox_distributions`` (N, 4, n+1),
        ``bbox_points``, ``bbox_inner`` and ``bbox_outer`` (N, 4) where the detections have them.

    Raises:
        MissingPackageError: if supervision is not installed; the message says what installs it.
    """
    sv = module_or_advice("supervision", "demo")
    found = data_sample.pred_instances
    return sv.Detections(
        xyxy=get_box_tensor(found.bboxes).cpu().numpy(),
        confidence=found.scores.cpu().numpy(),
        class_id=found.labels.cpu().numpy(),
        data={name: found[name].cpu().numpy() for name in SIDE_FIELDS if name in found},
    )
