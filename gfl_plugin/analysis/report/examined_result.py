"""Makes an examined image from a result of MMDetection."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral

import numpy as np

from ...metrics.image_boxes import as_array, boxes_of, ground_truth
from ...metrics.matching import Boxes, rank_in_class
from ...structures.side_fields import BBOX_DISTRIBUTIONS, BBOX_POINTS, BBOX_STD
from .examination_shards import as_stored
from .examined_image import ExaminedImage, SideBeliefs

MAX_DETECTIONS = 100  # per image and class, as in COCO's evaluation
_OUTWARD = np.array([-1.0, -1.0, 1.0, 1.0])  # direction of left, top, right, bottom


def examined_image(sample: Mapping, info: Mapping, number: int) -> ExaminedImage:
    """Make an examined image.

    Args:
        sample: ``pred_instances``, the ground truth and what PackDetInputs has kept about the image; a dict, as
            MMEngine's evaluator gets it.
        info: what the data set says about the image, for what PackDetInputs has not kept.
        number: of the image, if nothing else identifies it.

    Returns:
        The image with at most MAX_DETECTIONS per class. Detections with a box, a score or a standard deviation that is
        not finite are left out.

    Raises:
        ValueError: if there is no ground truth.
    """
    height, width = sample.get("ori_shape", (info.get("height", 0), info.get("width", 0)))[:2]
    image_id = sample.get("img_id", info.get("img_id", number))
    objects, ignored = ground_truth(sample)
    found = sample["pred_instances"]
    detections, scores, sides = boxes_of(found), as_array(found["scores"], np.float64), _sides(found)
    rows = _kept(detections, scores, sides)
    return ExaminedImage(
        path=str(sample.get("img_path", info.get("img_path", ""))),
        image_id=int(image_id) if isinstance(image_id, Integral) else str(image_id),
        width=int(width),
        height=int(height),
        objects=objects,
        ignored=ignored,
        detections=Boxes(detections.boxes[rows], detections.labels[rows]),
        scores=scores[rows],
        sides=None if sides is None else _rows(sides, rows),
    )


def _sides(found: Mapping) -> SideBeliefs | None:
    """What the head says about the sides, in the precision of the files."""
    if BBOX_STD not in found:
        return None
    probabilities, points = (
        as_array(found[name], np.float32) if name in found else None for name in (BBOX_DISTRIBUTIONS, BBOX_POINTS)
    )
    sides = SideBeliefs(
        std=as_array(found[BBOX_STD], np.float32),
        probabilities=probabilities,
        origins=None if points is None else np.tile(points[:, :2], 2),
        scales=None if points is None else np.tile(points[:, 2:], 2) * _OUTWARD,
    )
    return as_stored(sides)


def _kept(detections: Boxes, scores: np.ndarray, sides: SideBeliefs | None) -> np.ndarray:
    """Rows of the detections that are kept, in the order of falling scores."""
    finite = np.isfinite(scores) & np.isfinite(detections.boxes).all(axis=1)
    if sides is not None:
        finite &= np.isfinite(sides.std).all(axis=1)
    rows = np.flatnonzero(finite)
    rows = rows[np.argsort(-scores[rows], kind="stable")]
    return rows[rank_in_class(detections.labels[rows]) < MAX_DETECTIONS]


def _rows(sides: SideBeliefs, rows: np.ndarray) -> SideBeliefs:
    return SideBeliefs(**{name: None if value is None else value[rows] for name, value in vars(sides).items()})
