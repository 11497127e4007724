"""The kind of each detection: correct, or one of the errors that TIDE distinguishes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...metrics.matching import match_image, pairwise_overlap
from .examined_image import ExaminedImage
from .report_content import CORRECT, IGNORED

FOREGROUND, BACKGROUND = 0.5, 0.1  # TIDE's t_f and t_b: IoU of a found object, and of a detection of nothing


@dataclass(frozen=True)
class ImageErrors:
    """What each detection of an image is, in the order of the detections."""

    kinds: np.ndarray  # (N,) str: CORRECT, IGNORED, or one of ERROR_KINDS except "missed"
    objects: np.ndarray  # (N,) int64: index of the object that the kind is about, -1 without one; see JudgedDetection
    iou: np.ndarray  # (N,) float64: with that object
    own_iou: np.ndarray  # (N,) float64: with the object of the detection's class that it overlaps most, 0 without one


def image_errors(image: ExaminedImage) -> ImageErrors:
    r"""Decide what each detection of an image is.

    Detections are matched as in COCO's evaluation at an IoU of t_f = 0.5. With :math:`u` the highest IoU of a false
    positive and an object of its class, :math:`w` the same for objects of other classes, and t_b = 0.1, it is the first
    of these that applies, the order of TIDE's authors:

    - localization: :math:`t_b \le u < t_f`;
    - classification: :math:`w \ge t_f`;
    - duplicate: :math:`u \ge t_f`, so that an earlier detection has found the object;
    - both: :math:`w > t_b`;
    - background: the others.

    A detection that lies in an ignored region of its class is not an error. Source: Bolya et al., "TIDE: A General
    Toolbox for Identifying Object Detection Errors", ECCV 2020 (arXiv 2008.08115), section 2.2.

    Args:
        image: the image with its objects and detections.

    Returns:
        One entry per detection.
    """
    found, objects = image.detections, image.objects
    matches = match_image(found, objects, image.ignored, FOREGROUND)
    overlap = pairwise_overlap(found.boxes, objects.boxes)  # (N, G)
    same = found.labels[:, None] == objects.labels[None]
    (own, own_iou), (other, other_iou), (any_, any_iou) = (
        _highest(np.where(mask, overlap, 0)) for mask in (same, ~same, np.ones_like(same))
    )
    own_match = matches.object >= 0
    choices = {
        CORRECT: (own_match, matches.object, matches.iou),
        IGNORED: (matches.ignored, any_, any_iou),
        "localization": ((own_iou >= BACKGROUND) & (own_iou < FOREGROUND), own, own_iou),
        "classification": (other_iou >= FOREGROUND, other, other_iou),
        "duplicate": (own_iou >= FOREGROUND, own, own_iou),
        "both": (other_iou > BACKGROUND, other, other_iou),
    }
    conditions, about, iou = zip(*choices.values())
    return ImageErrors(
        kinds=np.select(conditions, [*choices], "background"),
        objects=np.select(conditions, about, any_),
        iou=np.select(conditions, iou, any_iou),
        own_iou=own_iou,
    )


def missed_objects(kinds: Sequence[str] | np.ndarray, objects: np.ndarray, count: int) -> np.ndarray:
    """Objects that no detection has found, and that no localization or classification error is about.

    Args:
        kinds: (N,) of the detections of an image.
        objects: (N,) of :class:`ImageErrors`.
        count: number of objects of the image.

    Returns:
        (M,) indices.
    """
    seen = np.zeros(count, bool)
    seen[objects[np.isin(kinds, (CORRECT, "localization", "classification"))]] = True
    return np.flatnonzero(~seen)


def _highest(overlap: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The (N,) columns of the highest values of (N, G), -1 where all are 0, and the (N,) values."""
    if not overlap.shape[1]:
        return np.full(len(overlap), -1), np.zeros(len(overlap))
    column = overlap.argmax(axis=1)
    value = overlap[np.arange(len(overlap)), column]
    return np.where(value > 0, column, -1), value
