"""Prediction of a dense head: select class scores, decode only their boxes, suppress overlaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import torch
from mmdet.structures.bbox import HorizontalBoxes, get_box_tensor
from mmdet.utils import InstanceList
from mmengine.config import ConfigDict
from torch import Tensor

from ..coders import DistanceBBoxCoder
from ..ops.host_values import host_tensor
from ..quality import QualityRepresentation
from ..structures.detections import Detections
from ..structures.grid import Grid, Layout
from ..structures.side_fields import BBOX_STD
from .box_intervals import HeadIntervals, interval_fields
from .box_uncertainty import Decoded, side_fields_of, with_fields
from .checks import check_maps
from .postprocess import inverse_scales, postprocess
from .select_topk import select_topk


class DensePrediction:
    """Base class of heads with one prior per location, a box coder and a quality representation.

    It precedes MMDetection's head among the bases and replaces its ``predict_by_feat``.
    """

    layout: Layout  # strides and priors of the levels
    bbox_coder: DistanceBBoxCoder
    quality: QualityRepresentation
    cls_out_channels: int  # number of class scores per location
    test_cfg: ConfigDict

    @cached_property
    def _intervals(self) -> HeadIntervals:
        return HeadIntervals()

    @torch.no_grad()
    def predict_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        score_factors: list[Tensor] | None = None,
        batch_img_metas: list[dict] | None = None,
        cfg: ConfigDict | None = None,
        rescale: bool = False,
        with_nms: bool = True,
    ) -> InstanceList:
        """Detections of a batch.

        Args:
            cls_scores: L maps (B, C, H, W) of class logits.
            bbox_preds: L maps (B, encode_size, H, W) of box numbers.
            score_factors: L quality maps (B, D, H, W), where ``quality`` gives them. Threshold and ``nms_pre`` apply to
                the class score alone, as in MMDetection.
            batch_img_metas: ``img_shape`` of each image, and ``scale_factor`` where ``rescale``.
            cfg: test settings, or None for the head's own; ``with_uncertainty``, ``with_distributions`` and
                ``intervals`` (a file that ``gfl-plugin calibrate`` has written) add fields.
            rescale: whether boxes return to the original image's size.
            with_nms: whether overlapping detections are suppressed.

        Returns:
            ``bboxes``, ``scores`` and ``labels`` of each image, and where ``cfg`` asks for them:

            - ``bbox_std``: (N, 4) standard deviations of left, top, right, bottom in pixels of the same image as
              ``bboxes``. They are those of the predicted sides, before boxes are clipped to the image.
            - ``bbox_distributions``: (N, 4, n+1) probabilities of the coder's bins for left, top, right, bottom.
            - ``bbox_points``: (N, 4) x, y of the location that predicted the box, and sx, sy, the pixels per unit of
              distance, with ``bbox_distributions``: a bin d lies at x - d·sx for left, y + d·sy for bottom.
            - ``bbox_inner``, ``bbox_outer``: (N, 4) boxes between which the true box lies with the calibrated
              probability (docs/intervals.md).

        Raises:
            ValueError: for inputs that do not fit together: different numbers of images, sizes or devices; for a
                field that boxes of this coder do not have; or for ``intervals`` of another head, or without rescaling.
            FileNotFoundError: if the file of ``intervals`` does not exist.
        """
        cfg = self.test_cfg if cfg is None else cfg
        cfg = cfg if isinstance(cfg, ConfigDict) else ConfigDict(cfg)  # of a model built without a config file
        check_maps(cls_scores, bbox_preds, len(batch_img_metas), self.cls_out_channels)
        if not batch_img_metas:
            return []
        fields, calibration = side_fields_of(cfg, self.bbox_coder), self._intervals.calibration(self, cfg, rescale)
        needed = fields if calibration is None else tuple({*fields, *calibration.fields})
        decoded = self._decode(cls_scores, bbox_preds, score_factors, batch_img_metas, cfg)
        found = decoded.with_rows() if needed else decoded.detections
        kept = postprocess(found, batch_img_metas, cfg, rescale, with_nms)
        if needed or calibration is not None:
            joined = Detections.joined(kept)
            scales = inverse_scales(batch_img_metas, decoded.raw) if rescale else None
            values = decoded.fields_of(joined, needed, self.bbox_coder, scales)
            intervals = {} if calibration is None else interval_fields(joined, values.get(BBOX_STD), calibration)
            kept = with_fields(kept, {name: values[name] for name in fields} | intervals)
        results = [own.to_instances() for own in kept]
        if self.bbox_coder.use_box_type:
            for result in results:
                result.bboxes = HorizontalBoxes(result.bboxes)
        return results

    def decode_best(
        self,
        cls_scores: Sequence[Tensor],
        bbox_preds: Sequence[Tensor],
        score_factors: Sequence[Tensor] | None,
        batch_img_metas: Sequence[dict],
        cfg: ConfigDict,
    ) -> Detections:
        """Detections of a batch before NMS: the part of :meth:`predict_by_feat` that torch.export can trace.

        Args:
            cls_scores: as in :meth:`predict_by_feat`.
            bbox_preds: as in :meth:`predict_by_feat`.
            score_factors: as in :meth:`predict_by_feat`.
            batch_img_metas: as in :meth:`predict_by_feat`; at least one.
            cfg: ``score_thr``, ``nms_pre``, ``with_uncertainty`` and ``with_distributions``.

        Returns:
            Detections in pixels of the network's input, image after image, with the fields that ``cfg`` asks for.

        Raises:
            ValueError: for a field that boxes of this coder do not have.
        """
        decoded = self._decode(cls_scores, bbox_preds, score_factors, batch_img_metas, cfg)
        fields = decoded.side_fields(side_fields_of(cfg, self.bbox_coder), self.bbox_coder, slice(None))
        return replace(decoded.detections, extra=fields)

    def _decode(
        self,
        cls_scores: Sequence[Tensor],
        bbox_preds: Sequence[Tensor],
        score_factors: Sequence[Tensor] | None,
        batch_img_metas: Sequence[dict],
        cfg: ConfigDict,
    ) -> Decoded:
        """Select class scores and decode their boxes; see :meth:`decode_best`."""
        device = cls_scores[0].device
        grid = Grid.of(self.layout, [level.shape[-2:] for level in cls_scores], device)
        best = select_topk(cls_scores, cfg.get("score_thr", 0), cfg.get("nms_pre", -1))
        limits = host_tensor([meta["img_shape"][:2] for meta in batch_img_metas], torch.float32, device)
        raw, stride = best.gather(bbox_preds), grid.stride[best.level]
        points = grid.center(best.level, best.location)
        boxes = self.bbox_coder.decode(
            points[:, None],
            raw[:, None],
            max_shape=limits[best.image],
            stride=stride[:, None],
        )
        quality = None if score_factors is None else best.gather(score_factors)
        scores = self.quality.score(best.score, quality)
        found = Detections(get_box_tensor(boxes)[:, 0], scores, best.label, best.image)
        return Decoded(found, raw, points, stride)
