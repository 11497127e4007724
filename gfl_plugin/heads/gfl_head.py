"""The Generalized Focal Loss head (Li et al., arXiv 2006.04388): towers, losses, coder and assigner put together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.models.dense_heads import GFLHead as MMDetGFLHead
from mmdet.models.task_modules.coders import DistancePointBBoxCoder
from mmdet.models.task_modules.samplers import PseudoSampler
from mmdet.utils import InstanceList, OptInstanceList, reduce_mean
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from ..assigners import ATSSAssigner
from ..boxes import aligned_iou
from ..coders import IntegralBBoxCoder
from ..grid import Grid, Layout, Regions, host_tensor
from ..losses import QualityFocalLoss
from ..optional import readable
from ..registry import MODELS, SCOPE
from ..targets import GroundTruths, Positives, gather_locations
from .prediction import detections, is_plain, survivors


@MODELS.register_module()
class GFLHead(MMDetGFLHead):
    r"""GFL's head: a joint classification-quality score, and box sides as general distributions.

    .. math:: L = \frac{1}{N_{pos}}\sum_z L_Q
        + \frac{1}{W}\sum_z 1_{c^*_z > 0}\,w_z (\lambda_0 L_B + \lambda_1 L_D)

    :math:`w_z` is the highest class score at z (detached), W their sum; both N_pos and W are averaged over workers.

    It has the layers, the state dict, the interface and the numbers of MMDetection's ``GFLHead``. Names in its config
    without a scope (``type='QualityFocalLoss'``) mean this plugin's class where it has one, else MMDetection's.

    Args:
        num_classes: C.
        in_channels: channels of the feature maps.
        reg_max: n, the number of a side's last bin. May be left out where ``bbox_coder`` says it.
        loss_cls: a QualityFocalLoss.
        loss_dfl: a DistributionFocalLoss.
        loss_bbox: a loss of decoded boxes with one value a box, GIoULoss by default.
        bbox_coder: an IntegralBBoxCoder.
        train_cfg: ``assigner`` (an ATSSAssigner), ``allowed_border``, ``pos_weight``.
        **kwargs: as MMDetection's GFLHead.

    Raises:
        ValueError: for parts that do not fit together, saying what was given and what to write.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        reg_max: int | None = None,
        loss_cls: dict | None = None,
        loss_dfl: dict | None = None,
        loss_bbox: dict | None = None,
        bbox_coder: dict | None = None,
        train_cfg: dict | None = None,
        **kwargs,
    ) -> None:
        loss_cls = {"type": "QualityFocalLoss", "use_sigmoid": True, **(loss_cls or {})}
        loss_dfl = loss_dfl or {"type": "DistributionFocalLoss", "loss_weight": 0.25}
        loss_bbox = loss_bbox or {"type": "GIoULoss", "loss_weight": 2.0}
        bbox_coder = _integral_coder(bbox_coder, reg_max)
        if train_cfg is not None:
            if "assigner" not in train_cfg:
                raise ValueError(
                    "train_cfg has no assigner; write assigner=dict(type='gfl_plugin.ATSSAssigner', topk=9)"
                )
            train_cfg = ConfigDict({"allowed_border": -1, "pos_weight": -1, **train_cfg})
            train_cfg["assigner"] = _scoped(train_cfg["assigner"])
        super().__init__(
            num_classes,
            in_channels,
            reg_max=bbox_coder["reg_max"],
            loss_cls=_scoped(loss_cls),
            loss_dfl=_scoped(loss_dfl),
            loss_bbox=_scoped(loss_bbox),
            bbox_coder=bbox_coder,
            train_cfg=train_cfg,
            **kwargs,
        )
        self._check_parts()
        self.integral.project = self.bbox_coder.bins()

    def _init_layers(self) -> None:
        self.layout = Layout.of(self.prior_generator)  # says what to write, where MMDetection would only assert
        super()._init_layers()

    def _check_parts(self) -> None:
        if not isinstance(self.loss_cls, QualityFocalLoss):
            raise ValueError(
                f"loss_cls is a {type(self.loss_cls).__name__}, which knows no quality; GFLHead needs "
                "loss_cls=dict(type='gfl_plugin.QualityFocalLoss', use_sigmoid=True, beta=2.0, loss_weight=1.0)"
            )
        if self.loss_cls.activated:
            raise ValueError("loss_cls has activated=True, but GFLHead gives it logits; leave activated out")
        if getattr(self.loss_dfl, "first", 0.0) != 0.0 or getattr(self.loss_dfl, "step", 1.0) != 1.0:
            raise ValueError(
                "loss_dfl sets first or step; inside GFLHead the bins belong to bbox_coder, set them there"
            )
        box = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
        if self.loss_bbox(box, box, reduction_override="none").shape != (1,):
            raise ValueError(
                f"loss_bbox is a {type(self.loss_bbox).__name__}, which compares coordinates one by one; GFLHead "
                "needs one value a box: loss_bbox=dict(type='GIoULoss', loss_weight=2.0)"
            )
        if not self.train_cfg:
            return
        if not isinstance(self.assigner, ATSSAssigner) or self.assigner.alpha is not None:
            raise ValueError(
                f"train_cfg.assigner is a {type(self.assigner).__name__} that GFLHead cannot use; write "
                "assigner=dict(type='gfl_plugin.ATSSAssigner', topk=9)"
            )
        if not isinstance(self.sampler, PseudoSampler):
            raise ValueError(
                f"train_cfg.sampler is a {type(self.sampler).__name__}; GFLHead trains on every location, leave it out"
            )

    # -----------------------------------------------------------------------------------------------
    # Training
    # -----------------------------------------------------------------------------------------------

    def loss_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        batch_gt_instances: InstanceList,
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: OptInstanceList = None,
    ) -> dict[str, list[Tensor]]:
        """Losses of a batch.

        Args:
            cls_scores: L maps (B, C, H, W) of joint-score logits.
            bbox_preds: L maps (B, 4·(n+1), H, W) of distribution logits.
            batch_gt_instances: ``bboxes`` (pixels) and ``labels`` of each image.
            batch_img_metas: ``img_shape`` and ``pad_shape`` of each image.
            batch_gt_instances_ignore: ``bboxes`` of ignored regions of each image.

        Returns:
            ``loss_cls``, ``loss_bbox`` and ``loss_dfl``, each a list of one scalar a level, fp32.

        Raises:
            ValueError: for a label that is no class, or an image without a location.
        """
        with torch.autocast(cls_scores[0].device.type, enabled=False):
            return self._loss_by_feat(
                cls_scores, bbox_preds, batch_gt_instances, batch_img_metas, batch_gt_instances_ignore
            )

    def _loss_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        batch_gt_instances: InstanceList,
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: OptInstanceList,
    ) -> dict[str, list[Tensor]]:
        device = cls_scores[0].device
        grid = Grid.of(self.layout, [level.shape[-2:] for level in cls_scores], device)
        regions = Regions.of(grid, batch_img_metas, self.train_cfg["allowed_border"])
        truths = GroundTruths.of(batch_gt_instances, device)
        self._check_labels(truths)
        ignored = None
        if batch_gt_instances_ignore is not None:
            regions_to_ignore = GroundTruths.of(batch_gt_instances_ignore, device)
            ignored = self.assigner.ignored_locations(regions_to_ignore, truths, grid)
        positives = self.assigner.assign_batch(truths, grid, regions, ignored).positives(grid)

        quality, loss_bbox, loss_dfl = self._box_losses(cls_scores, bbox_preds, truths, grid, positives)
        weights = _location_weights(grid, regions, ignored, positives, self._pos_weight)
        loss_cls = self._quality_losses(cls_scores, truths, positives, quality, weights)
        return dict(loss_cls=loss_cls, loss_bbox=loss_bbox, loss_dfl=loss_dfl)

    def _box_losses(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        truths: GroundTruths,
        grid: Grid,
        positives: Positives,
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Quality (P,) of each positive, and the box and distribution losses a level."""
        stride = grid.stride[positives.level][:, None]
        # As in MMDetection, centres and boxes are brought to strides before they meet.
        centre = grid.centre(positives.level, positives.location) / stride
        target = truths.boxes[positives.object] / stride
        logits = gather_locations(bbox_preds, positives).float()
        predicted = self.bbox_coder.decode(centre, logits)

        highest = gather_locations([level.detach() for level in cls_scores], positives).amax(dim=1)
        weight = torch.where(positives.active, highest.float().sigmoid(), 0.0)
        quality = aligned_iou(predicted.detach(), target)

        total = reduce_mean(weight.sum()).clamp(min=1)
        loss_bbox = self.loss_bbox(predicted, target, reduction_override="none") * (weight / total)
        position = self.bbox_coder.position(self.bbox_coder.encode(centre, target))
        rows = self.loss_dfl(logits.reshape(-1, self.reg_max + 1), position.reshape(-1), reduction_override="none")
        loss_dfl = rows.view(-1, 4).mean(dim=1) * (weight / total)
        return (
            quality,
            list(positives.level_sums(loss_bbox).unbind()),
            list(positives.level_sums(loss_dfl).unbind()),
        )

    def _quality_losses(
        self,
        cls_scores: list[Tensor],
        truths: GroundTruths,
        positives: Positives,
        quality: Tensor,
        weights: list[Tensor] | None,
    ) -> list[Tensor]:
        """QFL a level."""
        per_image = quality.new_zeros(len(truths.counts))
        per_image.index_add_(0, positives.image, positives.active.to(quality))
        # As in MMDetection, an image without a positive counts as one.
        num_positives = reduce_mean(per_image.clamp(min=1).sum())
        label = truths.labels[positives.object]
        losses = self.loss_cls.sparse(cls_scores, positives, label, quality, num_positives, weights)
        return list(losses.unbind())

    @property
    def _pos_weight(self) -> float:
        """Weight of positive locations; MMDetection writes 1 as any number <= 0."""
        weight = self.train_cfg["pos_weight"]
        return weight if weight > 0 else 1.0

    def _check_labels(self, truths: GroundTruths) -> None:
        # Only where looking is free: a GPU would have to be waited for.
        if readable(truths.labels) and len(truths):
            low, high = truths.labels.aminmax()
            if low < 0 or high >= self.num_classes:
                raise ValueError(
                    f"an object has label {int(low if low < 0 else high)}, but the head has num_classes="
                    f"{self.num_classes}; set bbox_head.num_classes to the number of classes of the data set's metainfo"
                )

    # -----------------------------------------------------------------------------------------------
    # Prediction
    # -----------------------------------------------------------------------------------------------

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
            cls_scores: L maps (B, C, H, W) of joint-score logits.
            bbox_preds: L maps (B, 4·(n+1), H, W) of distribution logits.
            score_factors: unused; the joint score needs no factor.
            batch_img_metas: ``img_shape`` of each image, and ``scale_factor`` where ``rescale``.
            cfg: test settings, or None for the head's own.
            rescale: whether boxes return to the original image's size.
            with_nms: whether NMS is done.

        Returns:
            ``bboxes``, ``scores`` and ``labels`` of each image.
        """
        cfg = self.test_cfg if cfg is None else cfg
        device = cls_scores[0].device
        grid = Grid.of(self.layout, [level.shape[-2:] for level in cls_scores], device)
        found = survivors(cls_scores, cfg.get("score_thr", 0), cfg.get("nms_pre", -1))
        limits = host_tensor([meta["img_shape"][:2] for meta in batch_img_metas], torch.float32, device)
        boxes = self.bbox_coder.decode(
            grid.centre(found.level, found.location)[:, None],
            found.gather(bbox_preds)[:, None],
            max_shape=limits[found.image],
            stride=grid.stride[found.level][:, None],
        )[:, 0]
        if with_nms and readable(boxes) and isinstance(boxes, Tensor) and is_plain(cfg.get("nms")):
            return detections(boxes, found, batch_img_metas, cfg, rescale)
        results = []
        for number, meta in enumerate(batch_img_metas):
            own = found.image == number
            result = InstanceData(bboxes=boxes[own], scores=found.score[own], labels=found.label[own])
            results.append(self._bbox_post_process(result, cfg, rescale=rescale, with_nms=with_nms, img_meta=meta))
        return results

    # -----------------------------------------------------------------------------------------------
    # Checkpoints
    # -----------------------------------------------------------------------------------------------

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        """Refuse another head's weights: MMEngine would log the keys that differ, and go on with random ones."""
        keys = [key[len(prefix) :] for key in state_dict if prefix and key.startswith(prefix)]
        if keys and not any(key.startswith("gfl_") for key in keys):
            heads = sorted({key.split(".")[0] for key in keys})
            raise ValueError(
                f"the checkpoint holds another head ({', '.join(heads)}), none of GFLHead's gfl_cls and gfl_reg. To "
                "start from its backbone alone, write backbone.init_cfg=dict(type='Pretrained', checkpoint=..., "
                "prefix='backbone.') in place of load_from"
            )
        weight = state_dict.get(f"{prefix}gfl_reg.weight")
        if weight is not None and len(weight) != len(self.gfl_reg.weight):
            raise ValueError(
                f"the checkpoint's gfl_reg has {len(weight)} channels (reg_max={len(weight) // 4 - 1}), this head's "
                f"{len(self.gfl_reg.weight)} (reg_max={self.reg_max}); set bbox_head.reg_max to the checkpoint's"
            )
        super()._load_from_state_dict(state_dict, prefix, *args)


def _scoped(config: dict) -> ConfigDict:
    """The config, its unscoped names looked up in this plugin first, then in MMDetection."""
    return ConfigDict({"_scope_": SCOPE, **config})


def _integral_coder(config: dict | None, reg_max: int | None) -> ConfigDict:
    """The coder's config with its reg_max settled between head and coder."""
    config = dict(config or {"type": "IntegralBBoxCoder"})
    if config["type"] in ("DistancePointBBoxCoder", "mmdet.DistancePointBBoxCoder", DistancePointBBoxCoder):
        config["type"] = "IntegralBBoxCoder"  # it decodes the same distances, and knows the bins
    if config["type"] not in ("IntegralBBoxCoder", f"{SCOPE}.IntegralBBoxCoder", IntegralBBoxCoder):
        raise ValueError(
            f"bbox_coder is a {config['type']}; GFLHead learns distributions and needs "
            "bbox_coder=dict(type='gfl_plugin.IntegralBBoxCoder')"
        )
    coder_reg_max = config.get("reg_max")
    if None not in (reg_max, coder_reg_max) and reg_max != coder_reg_max:
        raise ValueError(
            f"reg_max is {reg_max} in bbox_head and {coder_reg_max} in its bbox_coder; write it once, in bbox_head"
        )
    config["reg_max"] = next(value for value in (reg_max, coder_reg_max, 16) if value is not None)
    return _scoped(config)


def _location_weights(
    grid: Grid, regions: Regions, ignored: Sequence[Tensor] | None, positives: Positives, positive_weight: float
) -> list[Tensor] | None:
    """(B, H, W) fp32 a level: 0 outside an image's region and where ignored, else 1; None for 1 everywhere."""
    if ignored is None and positive_weight == 1.0 and regions.whole:
        return None
    weights = regions.masks(grid)
    if ignored is not None:
        weights = [weight * ~blocked for weight, blocked in zip(weights, ignored)]
    if ignored is None and positive_weight == 1.0:
        return list(weights)  # positives lie inside
    rows = zip(*(positives.per_level(part) for part in (positives.image, positives.location, positives.active)))
    for weight, (image, location, active) in zip(weights, rows):
        flat = weight.flatten(1)
        # Added, not written: an active and an inert row may share a location.
        change = torch.where(active, positive_weight - flat[image, location], 0.0)
        flat.index_put_((image, location), change, accumulate=True)
    return list(weights)
