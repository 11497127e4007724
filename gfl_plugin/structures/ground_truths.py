"""The annotated objects of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from mmdet.structures.bbox import get_box_tensor
from mmengine.structures import InstanceData
from torch import Tensor

from ..ops.box_geometry import in_reach
from ..ops.host_values import host_tensor


@dataclass(frozen=True)
class GroundTruths:
    """The objects of all images of a batch, image after image."""

    boxes: Tensor  # (G, 4) x1, y1, x2, y2 in pixels of the batched image, fp32; all 0 where a box was not finite
    labels: Tensor  # (G,) class index, int64
    image: Tensor  # (G,) index of the image in the batch, int64, ascending
    counts: tuple[int, ...]  # number of objects of each image

    @staticmethod
    def of(instances: Sequence[InstanceData | None], device: torch.device) -> GroundTruths:
        """Flatten MMDetection's ``gt_instances`` or ignored regions.

        A box that is not finite or beyond the range of :func:`~gfl_plugin.ops.box_geometry.in_reach` is replaced by an
        empty one, which is never assigned.

        Args:
            instances: ``bboxes`` and ``labels`` of each image; None for an image without any; missing labels mean 0.
            device: of the result.

        Returns:
            The objects, image after image.
        """
        per_image = [_boxes(entry, device) for entry in instances]
        counts = tuple(len(boxes) for boxes in per_image)
        boxes = torch.cat(per_image).to(device, torch.float32)
        boxes = torch.where(in_reach(boxes)[:, None], boxes, 0.0)
        labels = [_labels(entry, count, device) for entry, count in zip(instances, counts)]
        image = [index for index, count in enumerate(counts) for _ in range(count)]
        return GroundTruths(
            boxes=boxes,
            labels=torch.cat(labels).to(device, torch.int64),
            image=host_tensor(image, torch.int64, boxes.device),
            counts=counts,
        )

    def __len__(self) -> int:
        return sum(self.counts)

    @property
    def empty(self) -> Tensor:
        """(G,) bool, objects whose box has no area; they are ignored in training."""
        return ((self.boxes[:, 2:] - self.boxes[:, :2]) <= 0).any(dim=1)


def _boxes(instances: InstanceData | None, device: torch.device) -> Tensor:
    return torch.zeros(0, 4, device=device) if instances is None else get_box_tensor(instances.bboxes).reshape(-1, 4)


def _labels(instances: InstanceData | None, count: int, device: torch.device) -> Tensor:
    labels = getattr(instances, "labels", None)
    return torch.zeros(count, device=device) if labels is None else labels
