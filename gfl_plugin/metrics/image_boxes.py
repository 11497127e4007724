"""Reads boxes from the results and the ground truth of an image, as MMEngine's evaluator and MMDetection give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .matching import Boxes


def ground_truth(sample: Mapping) -> tuple[Boxes, Boxes]:
    """Read the annotations of an image.

    Args:
        sample: ``instances`` (a list of dicts), or ``gt_instances`` and perhaps ``ignored_instances``.

    Returns:
        Objects, and ignored regions.

    Raises:
        ValueError: if there is no ground truth.
    """
    if "instances" in sample:
        entries = sample["instances"]
        boxes = np.array([entry["bbox"] for entry in entries], np.float64).reshape(-1, 4)
        labels = np.array([entry["bbox_label"] for entry in entries], np.int64)
        ignored = np.array([entry.get("ignore_flag", 0) for entry in entries], bool)
        return Boxes(boxes[~ignored], labels[~ignored]), Boxes(boxes[ignored], labels[ignored])
    if "bboxes" not in sample.get("gt_instances", {}):
        image = sample.get("img_path", sample.get("img_id"))
        raise ValueError(
            f"no ground truth found in image {image}; add "
            'dict(type="LoadAnnotations", with_bbox=True) to the test pipeline, after Resize'
        )
    regions = sample.get("ignored_instances", {})
    none = Boxes(np.zeros((0, 4)), np.zeros(0, np.int64))
    return boxes_of(sample["gt_instances"]), boxes_of(regions) if "bboxes" in regions else none


def boxes_of(instances: Mapping) -> Boxes:
    """Read boxes and labels.

    Args:
        instances: an InstanceData or its dict; the boxes may be one of MMDetection's classes for boxes.

    Returns:
        The boxes.
    """
    boxes = instances["bboxes"]
    return Boxes(
        as_array(getattr(boxes, "tensor", boxes), np.float64).reshape(-1, 4), as_array(instances["labels"], np.int64)
    )


def as_array(values: Any, dtype: type) -> np.ndarray:
    """Copy values to an array.

    Args:
        values: a tensor on any device, or an array.
        dtype: of the result.

    Returns:
        The array.
    """
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values).astype(dtype)
