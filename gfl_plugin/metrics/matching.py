"""Matches the detections of one image with its objects, as COCO's evaluation does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Boxes:
    """Boxes of one image with their classes.

    Raises:
        ValueError: if the fields have different lengths.
    """

    boxes: np.ndarray  # (N, 4) x1, y1, x2, y2 in pixels of the original image
    labels: np.ndarray  # (N,) class index

    def __post_init__(self) -> None:
        if self.boxes.shape != (len(self.labels), 4):
            raise ValueError(f"boxes have the shape {self.boxes.shape}; {len(self.labels)} labels need (N, 4)")


@dataclass(frozen=True)
class Matches:
    """What each detection was matched with. It is a false positive if its IoU is 0 and it is not ignored."""

    iou: np.ndarray  # (N,) float64: IoU with the object of a true positive, 0 for the others
    object: np.ndarray  # (N,) int64: index of the object of a true positive, -1 for the others
    ignored: np.ndarray  # (N,) bool: matched with an ignored region, counts neither as true nor as false


def pairwise_overlap(boxes: np.ndarray, others: np.ndarray, of_first: bool = False) -> np.ndarray:
    """Compute the overlaps of all pairs of two sets of boxes.

    Args:
        boxes: (N, 4) x1, y1, x2, y2.
        others: (M, 4).
        of_first: divide the intersection by the area of the first box, as COCO does for crowds, not by the union.

    Returns:
        (N, M) float64: intersection over union, or over the area of the first box; 0 where it is not defined (boxes
        without area, boxes that are not finite).
    """
    first = np.asarray(boxes, np.float64)[:, None]  # (N, 1, 4)
    second = np.asarray(others, np.float64)[None]  # (1, M, 4)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        low, high = np.maximum(first[..., :2], second[..., :2]), np.minimum(first[..., 2:], second[..., 2:])
        shared = np.prod(np.maximum(high - low, 0), axis=-1)  # (N, M)
        area, other_area = (np.prod(one[..., 2:] - one[..., :2], axis=-1) for one in (first, second))
        overlap = shared / (area if of_first else area + other_area - shared)
    return np.where(np.isfinite(overlap) & (overlap > 0), overlap, 0.0)


def match_greedily(iou: np.ndarray, crowd_overlap: np.ndarray, iou_thr: float) -> Matches:
    """Match detections of one image and class, in their order, with the objects of that class.

    Each detection takes the object of highest IoU among those that no earlier detection has taken, if that IoU is
    at least ``iou_thr`` and positive; of equal IoUs, the last object. A detection without an object is ignored if a
    crowd region covers at least ``iou_thr`` of its area; a region can cover several detections. With detections in
    the order of falling scores, this is the matching of COCO's evaluation, except for ``iou_thr`` = 0, at which COCO
    also matches boxes that do not overlap.

    Args:
        iou: (N, G) IoU of detections and objects.
        crowd_overlap: (N, K) share of each detection that lies in each ignored region.
        iou_thr: minimum IoU of a match, in [0, 1).

    Returns:
        The matches of the detections, in their order.
    """
    matched, taken = np.zeros(len(iou)), np.full(len(iou), -1)
    free = np.ones(iou.shape[1], bool)
    # Only these rows can match. The others need no step of the loop.
    for row in np.flatnonzero(iou.max(axis=1, initial=0) >= max(iou_thr, np.finfo(float).tiny)):
        open_iou = np.where(free, iou[row], 0)
        best = len(free) - 1 - int(open_iou[::-1].argmax())
        if open_iou[best] >= iou_thr and open_iou[best] > 0:
            matched[row], taken[row], free[best] = open_iou[best], best, False
    covered = crowd_overlap.max(axis=1, initial=0)
    return Matches(matched, taken, (matched == 0) & (covered > 0) & (covered >= iou_thr))


def match_image(detections: Boxes, objects: Boxes, crowds: Boxes, iou_thr: float) -> Matches:
    """Match the detections of one image with the objects of their classes.

    Args:
        detections: in the order of falling scores.
        objects: objects to be found.
        crowds: regions in which detections of their class are ignored (crowds, difficult objects).
        iou_thr: minimum IoU of a match, in [0, 1).

    Returns:
        The matches of the detections, in their order; see :func:`match_greedily`.
    """
    count = len(detections.labels)
    iou, taken, ignored = np.zeros(count), np.full(count, -1), np.zeros(count, bool)
    for label in np.unique(detections.labels):
        rows, own = np.flatnonzero(detections.labels == label), np.flatnonzero(objects.labels == label)
        boxes = detections.boxes[rows]
        matches = match_greedily(
            pairwise_overlap(boxes, objects.boxes[own]),
            pairwise_overlap(boxes, crowds.boxes[crowds.labels == label], of_first=True),
            iou_thr,
        )
        iou[rows], ignored[rows] = matches.iou, matches.ignored
        true = matches.object >= 0
        taken[rows[true]] = own[matches.object[true]]
    return Matches(iou, taken, ignored)


def rank_in_class(labels: np.ndarray) -> np.ndarray:
    """Count the earlier detections of the same class, to keep the first of each.

    Args:
        labels: (N,) class indices of the detections of an image.

    Returns:
        (N,) int64 number of earlier elements with the same label.
    """
    order = np.argsort(labels, kind="stable")
    _, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
    rank = np.empty(len(labels), np.int64)
    rank[order] = np.arange(len(labels)) - np.repeat(starts, counts)
    return rank
