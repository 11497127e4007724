"""Test-time augmentation that keeps the further fields of detections, such as the uncertainty of box sides."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmcv.ops import batched_nms
from mmdet.models import DetTTAModel as MMDetDetTTAModel
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import get_box_tensor
from mmengine.structures import InstanceData
from torch import Tensor

from ..registry import MODELS
from ..structures.side_fields import flipped_fields

_MERGED = ("bboxes", "scores", "labels")  # the fields that MMDetection merges


@MODELS.register_module()
class DetTTAModel(MMDetDetTTAModel):
    """MMDetection's ``DetTTAModel``, whose results have all fields of the detections that it keeps.

    Boxes, scores and labels are MMDetection's: the detections of all augmentations, flipped back, go through one NMS. A
    detection that is kept has its own ``bbox_std``, ``bbox_distributions``, ``bbox_points``, ``bbox_inner`` and
    ``bbox_outer``; nothing is averaged over the augmentations. Those of a flipped image change places: left with right,
    top with bottom. What ``gfl-plugin calibrate`` guarantees for intervals holds for detections without augmentation.

    It takes MMDetection's arguments: ``tta_cfg`` with ``nms`` and ``max_per_img``.
    """

    def merge_preds(self, data_samples_list: Sequence[Sequence[DetDataSample]]) -> list[DetDataSample]:
        """Merge the detections of all augmentations.

        Args:
            data_samples_list: for each image, one sample per augmentation. Boxes are in pixels of the original image,
                flipped as ``flip`` and ``flip_direction`` say.

        Returns:
            For each image, its first sample with the merged detections.

        Raises:
            ValueError: for masks, or a direction of flipping that MMDetection does not have.
        """
        return [self._merged(samples) for samples in data_samples_list]

    def _merged(self, samples: Sequence[DetDataSample]) -> DetDataSample:
        found = [sample.pred_instances for sample in samples]
        if "masks" in found[0]:
            raise ValueError("detections have masks, which DetTTAModel cannot merge; test without tta_model")
        metas = [sample.metainfo for sample in samples]
        boxes, scores = self.merge_aug_bboxes(
            [get_box_tensor(own.bboxes) for own in found], [own.scores for own in found], metas
        )
        parts = [_further_fields(own, meta) for own, meta in zip(found, metas)]
        fields = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        labels = torch.cat([own.labels for own in found])
        if len(boxes):
            boxes_and_scores, kept = batched_nms(boxes, scores, labels, self.tta_cfg["nms"])
            boxes, scores = boxes_and_scores[:, :4], boxes_and_scores[:, 4]
            labels, fields = labels[kept], {name: values[kept] for name, values in fields.items()}
        best = slice(self.tta_cfg["max_per_img"])
        result = samples[0]
        result.pred_instances = InstanceData(
            bboxes=boxes[best],
            scores=scores[best],
            labels=labels[best],
            **{name: values[best] for name, values in fields.items()},
        )
        return result


def _further_fields(found: InstanceData, meta: dict) -> dict[str, Tensor]:
    """The tensors that MMDetection does not merge, with sides in the order of the image that is not flipped."""
    fields = {name: values for name, values in found.items() if name not in _MERGED and isinstance(values, Tensor)}
    return flipped_fields(fields, meta["flip_direction"], meta["ori_shape"]) if meta["flip"] else fields
