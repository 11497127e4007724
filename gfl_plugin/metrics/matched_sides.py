"""True positives with their objects: the errors of box sides beside what the model says about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from ..structures.side_fields import BBOX_DISTRIBUTIONS, BBOX_STD
from .image_boxes import as_array, boxes_of, ground_truth
from .matching import Boxes, match_image

_OUTWARD = np.array([-1.0, -1.0, 1.0, 1.0])  # sign of an outward movement of left, top, right, bottom


@dataclass(frozen=True)
class MatchedSides:
    """Detections that have found an object, those of all images in one list."""

    predicted: np.ndarray  # (N, 4) x1, y1, x2, y2 in pixels of the original image, float64
    true: np.ndarray  # (N, 4) box of the object, in the same pixels, float64
    labels: np.ndarray  # (N,) class index
    scores: np.ndarray  # (N,) float64
    image: np.ndarray  # (N,) index of the image among those that were read
    std: np.ndarray | None = None  # (N, 4) predicted standard deviations in pixels; None if the model gives none
    distributions: np.ndarray | None = None  # (N, 4, n+1) probabilities of bins; None if the model gives none

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def errors(self) -> np.ndarray:
        """(N, 4) pixels by which the true left, top, right and bottom lie outside the predicted box; < 0 if inside."""
        return (self.true - self.predicted) * _OUTWARD

    def rows(self, index: np.ndarray) -> MatchedSides:
        """Select detections.

        Args:
            index: (M,) row indices, or a (N,) mask.

        Returns:
            Those detections.
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return MatchedSides(**{name: None if value is None else value[index] for name, value in values.items()})

    @classmethod
    def concatenate(cls, parts: Sequence[MatchedSides]) -> MatchedSides:
        """Join the detections of several images; the images are numbered in the order of the parts.

        Args:
            parts: at least one, each of one image.

        Returns:
            All detections.
        """
        numbered = [replace(part, image=np.full(len(part), number)) for number, part in enumerate(parts)]
        columns = {field.name: [getattr(part, field.name) for part in numbered] for field in fields(cls)}
        return cls(**{name: None if values[0] is None else np.concatenate(values) for name, values in columns.items()})


def match_sides(sample: Mapping, iou_thr: float) -> MatchedSides:
    """Match the detections of an image with its objects as COCO's evaluation does, and keep the matches.

    Args:
        sample: ``pred_instances`` and the ground truth, see :func:`ground_truth`; a dict, as MMEngine's evaluator gets
            it.
        iou_thr: minimum IoU of a match, in (0, 1).

    Returns:
        The matched detections. Those whose box or score is not finite are left out.

    Raises:
        ValueError: if there is no ground truth.
    """
    found = sample["pred_instances"]
    detections, scores = boxes_of(found), as_array(found["scores"], np.float64)
    rows = np.flatnonzero(np.isfinite(scores) & np.isfinite(detections.boxes).all(axis=1))
    rows = rows[np.argsort(-scores[rows], kind="stable")]
    objects, crowds = ground_truth(sample)
    taken = match_image(Boxes(detections.boxes[rows], detections.labels[rows]), objects, crowds, iou_thr).object
    rows, taken = rows[taken >= 0], taken[taken >= 0]
    std, distributions = (
        as_array(found[name], np.float64)[rows] if name in found else None for name in (BBOX_STD, BBOX_DISTRIBUTIONS)
    )
    return MatchedSides(
        predicted=detections.boxes[rows],
        true=objects.boxes[taken],
        labels=detections.labels[rows],
        scores=scores[rows],
        image=np.zeros(len(rows), np.int64),
        std=std,
        distributions=distributions,
    )
