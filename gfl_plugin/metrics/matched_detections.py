"""The detections of a data set with the IoUs of their objects: what all metrics of this package are computed from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class MatchedDetections:
    """Detections that are true or false positives, and the objects to be found. Ignored detections are left out."""

    scores: np.ndarray  # (N,) float64 in [0, 1]
    labels: np.ndarray  # (N,) class index
    iou: np.ndarray  # (N,) float64: IoU with the matched object; 0 for a false positive
    object_labels: np.ndarray  # (G,) class index of each object, found or not; without crowds

    @classmethod
    def concatenate(cls, parts: Sequence[MatchedDetections]) -> MatchedDetections:
        """Join the detections and objects of several images.

        Args:
            parts: the images, in any order.

        Returns:
            All detections and all objects.
        """
        if not parts:
            return cls(np.zeros(0), np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64))
        fields = ((one.scores, one.labels, one.iou, one.object_labels) for one in parts)
        return cls(*map(np.concatenate, zip(*fields)))

    def by_class(self) -> dict[int, MatchedDetections]:
        """Split the detections and objects by class.

        Returns:
            One entry per class that has detections or objects, in the order of class indices.
        """
        classes = np.union1d(self.labels, self.object_labels)
        order, objects = np.argsort(self.labels, kind="stable"), np.sort(self.object_labels)
        ends = np.searchsorted(self.labels[order], classes, side="right")[:-1]
        columns = [np.split(values[order], ends) for values in (self.scores, self.labels, self.iou)]
        columns.append(np.split(objects, np.searchsorted(objects, classes, side="right")[:-1]))
        return {int(label): MatchedDetections(*parts) for label, *parts in zip(classes, *columns)}
