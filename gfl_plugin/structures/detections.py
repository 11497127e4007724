"""Detections of a batch, from decoding to MMDetection's result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from .side_fields import scaled_fields


@dataclass(frozen=True)
class Detections:
    """Boxes of all images of a batch, in any order."""

    boxes: Tensor  # (N, 4) x1, y1, x2, y2 in pixels of the network's input, or of the original image once rescaled
    scores: Tensor  # (N,) in [0, 1], fp32
    labels: Tensor  # (N,) class index, int64
    image: Tensor  # (N,) index of the image in the batch, int64
    # Further fields per detection, (N, ...) each, by name, such as those of ``side_fields``: they reach the result as
    # fields of InstanceData.
    extra: Mapping[str, Tensor] = field(default_factory=dict)

    @staticmethod
    def joined(parts: Sequence[Detections]) -> Detections:
        """All detections of several parts, one part after another.

        Args:
            parts: at least one; their further fields have the same names.

        Returns:
            The detections.
        """
        return Detections(
            boxes=torch.cat([part.boxes for part in parts]),
            scores=torch.cat([part.scores for part in parts]),
            labels=torch.cat([part.labels for part in parts]),
            image=torch.cat([part.image for part in parts]),
            extra={name: torch.cat([part.extra[name] for part in parts]) for name in parts[0].extra},
        )

    def __len__(self) -> int:
        return len(self.scores)

    def rows(self, index: Tensor | slice) -> Detections:
        """Some of the detections.

        Args:
            index: (M,) int64 rows in any order, a (N,) bool mask, or a slice.

        Returns:
            Those detections, with their further fields.
        """
        if isinstance(index, Tensor) and index.dtype == torch.bool:
            index = index.nonzero().squeeze(1)  # once, not for each field
        return Detections(
            boxes=self.boxes[index],
            scores=self.scores[index],
            labels=self.labels[index],
            image=self.image[index],
            extra={name: values[index] for name, values in self.extra.items()},
        )

    def scaled(self, factor: Tensor) -> Detections:
        """The same detections after the image was scaled.

        Args:
            factor: (N, 4) output pixels per pixel along x, y, x, y.

        Returns:
            The detections whose boxes, and whose further fields in pixels, are multiplied by the factor.
        """
        return replace(self, boxes=self.boxes * factor, extra=scaled_fields(self.extra, factor))

    def per_image(self, images: int) -> list[Tensor]:
        """Rows of each image, in the order in which they are stored.

        Args:
            images: number of images of the batch.

        Returns:
            For each image, its (M,) row indices, int64.
        """
        order = self.image.sort(stable=True).indices
        return list(order.split(torch.bincount(self.image, minlength=images).tolist()))

    def to_instances(self) -> InstanceData:
        """All rows as MMDetection's result.

        Returns:
            One InstanceData: ``bboxes``, ``scores``, ``labels`` and the further fields.
        """
        return InstanceData(bboxes=self.boxes, scores=self.scores, labels=self.labels, **self.extra)
