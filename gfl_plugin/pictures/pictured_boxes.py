"""What one picture shows: the confident detections of an image, and curves for the sides of the best ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from mmdet.structures.bbox import get_box_tensor
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ..metrics.matching import pairwise_overlap
from ..structures.side_fields import BBOX_DISTRIBUTIONS, BBOX_POINTS, BBOX_STD
from .side_curves import SideCurves, curves_of_bins, curves_of_normals

BINS, NORMAL, NONE = "bins", "normal", "none"  # kinds of what a head predicts about a side
_OVERLAP = 0.5  # IoU


@dataclass(frozen=True)
class PicturedBoxes:
    """N detections of an image: the K that are explained, the best first, then the others."""

    boxes: np.ndarray  # (N, 4) x1, y1, x2, y2 in pixels of the image
    scores: np.ndarray  # (N,)
    names: tuple[str, ...]  # N names of classes
    explained: int  # K
    curves: SideCurves | None  # of the K boxes; None if the head predicts no uncertainty
    score_thr: float  # the smallest score that is shown
    kind: str  # BINS, NORMAL or NONE: what the curves are


def side_settings(head: nn.Module | None) -> dict[str, bool]:
    """The test settings with which a head predicts what a picture needs.

    Args:
        head: any head, or None.

    Returns:
        Settings for ``test_cfg``; empty for a head without uncertainty of box sides.
    """
    if not hasattr(head, "decode_best"):  # only heads with DensePrediction read these settings
        return {}
    fields = getattr(head.bbox_coder, "side_fields", ())
    if BBOX_DISTRIBUTIONS in fields:
        return {"with_distributions": True}
    return {"with_uncertainty": True} if BBOX_STD in fields else {}


def side_bins(head: nn.Module | None) -> np.ndarray | None:
    """The bins of a head's side distributions.

    Args:
        head: any head, or None.

    Returns:
        (n + 1,) distances in strides; None for a head without distributions.
    """
    if "with_distributions" not in side_settings(head):
        return None
    return head.bbox_coder.bins().numpy()


def pictured_boxes(
    found: InstanceData | Mapping[str, np.ndarray],
    classes: Sequence[str],
    bins: np.ndarray | None,
    score_thr: float,
    count: int,
) -> PicturedBoxes:
    """Select the detections that a picture shows.

    Args:
        found: ``bboxes``, ``scores`` and ``labels`` of an image in its pixels; with ``bbox_distributions`` and
            ``bbox_points``, or ``bbox_std``, there are curves.
        classes: names of the classes; a class beyond them is shown by its number.
        bins: see :func:`side_bins`.
        score_thr: smallest score that is shown.
        count: number of detections that are explained at most: the best, without those that overlap a better one by
            an IoU above 0.5, whose curves would hide each other.

    Returns:
        Their boxes and curves.
    """
    fields = {name: _array(values) for name, values in found.items()}
    scores, boxes = fields["scores"], fields["bboxes"]
    shown = np.flatnonzero((scores >= score_thr) & np.isfinite(boxes).all(axis=1))
    shown = shown[np.argsort(-scores[shown], kind="stable")]
    clear = shown[_without_overlap(boxes[shown])][:count]
    order = np.concatenate([clear, shown[~np.isin(shown, clear)]])
    names = [classes[label] if label < len(classes) else str(label) for label in fields["labels"][order].tolist()]
    kind = _kind(fields, bins)
    curves = _curves({name: values[clear] for name, values in fields.items()}, bins, kind)
    return PicturedBoxes(boxes[order], scores[order], tuple(names), len(clear), curves, score_thr, kind)


def _without_overlap(boxes: np.ndarray) -> np.ndarray:
    """Rows of boxes that overlap no earlier such row by more than ``_OVERLAP``."""
    kept: list[int] = []
    overlap = pairwise_overlap(boxes, boxes)
    for row in range(len(boxes)):
        if not (overlap[row, kept] > _OVERLAP).any():
            kept.append(row)
    return np.array(kept, np.int64)


def _array(values: object) -> np.ndarray:
    tensor = get_box_tensor(values) if hasattr(values, "tensor") else values
    return tensor.detach().cpu().numpy() if isinstance(tensor, Tensor) else np.asarray(tensor)


def _kind(fields: Mapping[str, np.ndarray], bins: np.ndarray | None) -> str:
    if bins is not None and {BBOX_DISTRIBUTIONS, BBOX_POINTS} <= set(fields):
        return BINS
    return NORMAL if BBOX_STD in fields else NONE


def _curves(fields: Mapping[str, np.ndarray], bins: np.ndarray | None, kind: str) -> SideCurves | None:
    if kind == BINS:
        return curves_of_bins(fields[BBOX_DISTRIBUTIONS], fields[BBOX_POINTS], bins)
    return curves_of_normals(fields["bboxes"], fields[BBOX_STD]) if kind == NORMAL else None
