"""The Generalized Focal Loss head (Li et al., arXiv 2006.04388): towers, losses, coder and assigner put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from mmdet.models.dense_heads import GFLHead as MMDetGFLHead
from mmdet.models.task_modules.coders import DistancePointBBoxCoder
from mmdet.models.task_modules.samplers import PseudoSampler
from mmdet.models.utils import unpack_gt_instances
from mmdet.structures import SampleList
from mmdet.utils import InstanceList, OptInstanceList, reduce_mean
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ..assigners import AdaptedAssigner, ATSSAssigner, FCOSAssigner, Predictions
from ..coders import DistanceBBoxCoder, IntegralBBoxCoder
from ..ops.host_values import host_tensor, on_host
from ..quality import Matched, QualityRepresentation
from ..registry import MODELS, SCOPE, TASK_UTILS
from ..structures.class_targets import ClassTargets
from ..structures.grid import Grid, Layout
from ..structures.ground_truths import GroundTruths
from ..structures.positives import Positives, gather_locations
from ..structures.valid_regions import ValidRegions
from .prediction import Survivors, detections, is_plain, survivors


@MODELS.register_module()
class GFLHead(MMDetGFLHead):
    r"""GFL's head: a joint classification-quality score, and box sides as general distributions.

    .. math:: L = \frac{1}{N_{pos}}\sum_z L_Q
        + \frac{1}{W}\sum_z 1_{c^*_z > 0}\,w_z (\lambda_0 L_B + \lambda_1 L_D)

    :math:`w_z` is the highest class score at z (detached), W their sum; both N_pos and W are averaged over workers.

    By default it has the layers, the state dict, the interface and the numbers of MMDetection's ``GFLHead``. How
    quality is represented (``quality``), how boxes are (``bbox_coder``) and who learns what (``train_cfg.assigner``)
    may each be exchanged for another. Names in its config without a scope (``type='QualityFocalLoss'``) mean this
    plugin's class where it has one, else MMDetection's.

    Args:
        num_classes: C.
        in_channels: channels of the feature maps.
        reg_max: n, the number of a side's last bin. May be left out where ``bbox_coder`` says it.
        quality: JointQuality by default, or NoQuality, QualityBranch, GuidedQuality.
        loss_cls: a QualityFocalLoss for JointQuality, by default; else a sigmoid class loss, FocalLoss by default.
        loss_dfl: a loss of sides as ``bbox_coder`` represents them: DistributionFocalLoss for an IntegralBBoxCoder,
            GaussianNLLLoss for a GaussianBBoxCoder. None for none; "by_coder" for the coder's own.
        loss_bbox: a loss of decoded boxes with one value a box, GIoULoss by default.
        bbox_coder: an IntegralBBoxCoder by default, or GaussianBBoxCoder, DiracBBoxCoder.
        train_cfg: ``assigner`` (an ATSSAssigner, an FCOSAssigner, or one of MMDetection's), ``allowed_border``,
            ``pos_weight``.
        **kwargs: as MMDetection's GFLHead.

    Raises:
        ValueError: for parts that do not fit together, saying what was given and what to write.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        reg_max: int | None = None,
        quality: dict | None = None,
        loss_cls: dict | None = None,
        loss_dfl: dict | str | None = "by_coder",
        loss_bbox: dict | None = None,
        bbox_coder: dict | None = None,
        train_cfg: dict | None = None,
        **kwargs,
    ) -> None:
        quality = MODELS.build(_scoped(quality or {"type": "JointQuality"}))
        if not isinstance(quality, QualityRepresentation):
            raise ValueError(
                f"quality is a {type(quality).__name__}; write quality=dict(type='JointQuality'), 'NoQuality', "
                "'QualityBranch' or 'GuidedQuality'"
            )
        loss_cls = loss_cls or {}
        if "type" not in loss_cls:
            loss_cls = {**quality.default_loss_cls, **loss_cls}
        loss_bbox = loss_bbox or {"type": "GIoULoss", "loss_weight": 2.0}
        bbox_coder = _distance_coder(bbox_coder, reg_max)
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
            reg_max=bbox_coder.get("reg_max", 16),
            loss_cls=_scoped(loss_cls),
            loss_bbox=_scoped(loss_bbox),
            bbox_coder=bbox_coder,
            train_cfg=train_cfg,
            **kwargs,
        )
        self.quality = quality
        self.quality.init_layers(self.feat_channels)
        if loss_dfl == "by_coder":
            loss_dfl = self.bbox_coder.default_side_loss
        self.loss_dfl = MODELS.build(_scoped(loss_dfl)) if loss_dfl else None
        if self.train_cfg:
            self.assigner = _batch_assigner(self.assigner)
        self._check_parts()
        if isinstance(self.bbox_coder, IntegralBBoxCoder):
            self.integral.project = self.bbox_coder.bins()
        else:
            del self.integral  # its bins would be saved with the weights

    def _init_layers(self) -> None:
        self.layout = Layout.of(self.prior_generator)  # says what to write, where MMDetection would only assert
        super()._init_layers()
        if self.gfl_reg.out_channels != self.bbox_coder.encode_size:
            self.gfl_reg = nn.Conv2d(self.feat_channels, self.bbox_coder.encode_size, 3, padding=1)

    def _check_parts(self) -> None:
        self.quality.check_loss_cls(self.loss_cls)
        coder = self.bbox_coder
        if self.loss_dfl is not None and not isinstance(self.loss_dfl, coder.side_losses):
            fitting = "None" if coder.default_side_loss is None else f"{coder.default_side_loss} or None"
            raise ValueError(
                f"loss_dfl is a {type(self.loss_dfl).__name__}, which does not fit sides as {type(coder).__name__} "
                f"represents them; write loss_dfl={fitting}"
            )
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
        if self.train_cfg and not isinstance(self.sampler, PseudoSampler):
            raise ValueError(
                f"train_cfg.sampler is a {type(self.sampler).__name__}; GFLHead trains on every location, leave it out"
            )

    def forward_single(self, x: Tensor, scale: nn.Module) -> tuple[Tensor, ...]:
        """One level's maps: class logits, box numbers (fp32), and quality logits where ``quality`` has a branch."""
        cls_feat = reg_feat = x
        for cls_conv in self.cls_convs:
            cls_feat = cls_conv(cls_feat)
        for reg_conv in self.reg_convs:
            reg_feat = reg_conv(reg_feat)
        return self.quality.outputs(self.gfl_cls(cls_feat), reg_feat, scale(self.gfl_reg(reg_feat)).float())

    # -----------------------------------------------------------------------------------------------
    # Training
    # -----------------------------------------------------------------------------------------------

    def loss(self, x: tuple[Tensor, ...], batch_data_samples: SampleList) -> dict[str, list[Tensor]]:
        """Losses of a batch, from feature maps; see :meth:`loss_by_feat`.

        torch.compile takes the layers. The losses stay out of its graph: the number of objects changes with every
        batch, and each new one would be compiled again.

        Args:
            x: L feature maps (B, in_channels, H, W).
            batch_data_samples: ground truths and metadata of each image.
        """
        return self._loss_of_outputs(self(x), batch_data_samples)

    @torch.compiler.disable
    def _loss_of_outputs(
        self, outputs: tuple[list[Tensor], ...], batch_data_samples: SampleList
    ) -> dict[str, list[Tensor]]:
        truths, to_ignore, metas = unpack_gt_instances(batch_data_samples)
        return self.loss_by_feat(*outputs, truths, metas, to_ignore)

    def loss_by_feat(
        self, cls_scores: list[Tensor], bbox_preds: list[Tensor], *inputs, **named_inputs
    ) -> dict[str, list[Tensor]]:
        """Losses of a batch; the arguments are what ``forward`` gives, then those of every head of MMDetection's.

        Args:
            cls_scores: L maps (B, C, H, W) of class logits.
            bbox_preds: L maps (B, encode_size, H, W) of box numbers: 4·(n+1) distribution logits.
            score_factors: L maps (B, 1, H, W) of quality logits, where ``quality`` has a branch, and only there.
            batch_gt_instances: ``bboxes`` (pixels) and ``labels`` of each image.
            batch_img_metas: ``img_shape`` and ``pad_shape`` of each image.
            batch_gt_instances_ignore: ``bboxes`` of ignored regions of each image, or None.

        Returns:
            ``loss_cls``, ``loss_bbox``, ``loss_dfl`` where there is one, and what ``quality`` adds, each a list of one
            scalar a level, fp32.

        Raises:
            ValueError: for a label that is no class, an image without a location, a batch without an image, or parts
                that do not belong together: other numbers of images, other sizes, other devices.
        """
        if not inputs:
            named_inputs.setdefault("score_factors", None)
        elif not self.quality.has_branch:
            inputs = (None, *inputs)
        with torch.autocast(cls_scores[0].device.type, enabled=False):
            return self._loss_by_feat(cls_scores, bbox_preds, *inputs, **named_inputs)

    def _loss_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        score_factors: list[Tensor] | None,
        batch_gt_instances: InstanceList,
        batch_img_metas: Sequence[dict],
        batch_gt_instances_ignore: OptInstanceList = None,
    ) -> dict[str, list[Tensor]]:
        if not batch_img_metas:
            raise ValueError("the batch holds no image; there is nothing to learn from it")
        self._check_batch(cls_scores, bbox_preds, batch_img_metas, batch_gt_instances, batch_gt_instances_ignore)
        device = cls_scores[0].device
        grid = Grid.of(self.layout, [level.shape[-2:] for level in cls_scores], device)
        regions = ValidRegions.of(grid, batch_img_metas, self.train_cfg["allowed_border"])
        truths = GroundTruths.of(batch_gt_instances, device)
        self._check_labels(truths)
        to_ignore = None
        if batch_gt_instances_ignore is not None:
            to_ignore = GroundTruths.of(batch_gt_instances_ignore, device)
        predictions = Predictions(cls_scores, bbox_preds, self.bbox_coder)
        assigned = self.assigner.assigned(truths, to_ignore, grid, regions, predictions)
        positives = assigned.positives

        quality, losses = self._box_losses(cls_scores, bbox_preds, truths, grid, positives)
        per_image = quality.new_zeros(len(truths.counts))
        per_image.index_add_(0, positives.image, positives.active.to(quality))
        targets = ClassTargets(
            positives=positives,
            label=truths.labels[positives.gt_index],
            quality=quality,
            # As in MMDetection, an image without a positive counts as one.
            avg_factor=reduce_mean(per_image.clamp(min=1).sum()),
            weights=_location_weights(grid, regions, assigned.ignored, positives, self._pos_weight),
        )
        return dict(
            loss_cls=self.quality.class_losses(self.loss_cls, cls_scores, targets),
            **losses,
            **self.quality.branch_losses(score_factors, targets),
        )

    def _box_losses(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        truths: GroundTruths,
        grid: Grid,
        positives: Positives,
    ) -> tuple[Tensor, dict[str, list[Tensor]]]:
        """What is learned as the quality (P,) of each positive, and the losses of boxes and of their sides a level."""
        stride = grid.stride[positives.level][:, None]
        # As in MMDetection, centers and boxes are brought to strides before they meet.
        center = grid.center(positives.level, positives.location) / stride
        box = truths.boxes[positives.gt_index] / stride
        raw = gather_locations(bbox_preds, positives).float()
        predicted = self.bbox_coder.decode(center, raw)

        highest = gather_locations([level.detach() for level in cls_scores], positives).amax(dim=1)
        distance = self.bbox_coder.encode(center, box)
        matched = Matched(distance, predicted.detach(), box, highest.float().sigmoid())
        target = self.quality.target(matched)
        weight = torch.where(positives.active, self.quality.box_weight(matched, target), 0.0)

        share = weight / reduce_mean(weight.sum()).clamp(min=1)
        rows = {"loss_bbox": self.loss_bbox(predicted, box, reduction_override="none") * share}
        if self.loss_dfl is not None:
            position = self.bbox_coder.position(distance).reshape(-1)
            sides = self.loss_dfl(self.bbox_coder.sides(raw), position, reduction_override="none")
            rows["loss_dfl"] = sides.view(-1, 4).mean(dim=1) * share
        return target, {name: list(positives.level_sums(values).unbind()) for name, values in rows.items()}

    @property
    def _pos_weight(self) -> float:
        """Weight of positive locations; MMDetection writes 1 as any number <= 0."""
        weight = self.train_cfg["pos_weight"]
        return weight if weight > 0 else 1.0

    def _check_batch(
        self,
        cls_scores: Sequence[Tensor],
        bbox_preds: Sequence[Tensor],
        metas: Sequence[dict],
        *instances: Sequence[InstanceData] | None,
    ) -> None:
        """Refuse parts that are not of the same images, classes, locations and device: indices would go astray."""
        if len(cls_scores) != len(bbox_preds):
            raise ValueError(
                f"{len(cls_scores)} class maps came with {len(bbox_preds)} box maps; give one of each a level"
            )
        for number, (scores, boxes) in enumerate(zip(cls_scores, bbox_preds)):
            if scores.device != boxes.device or scores.device != cls_scores[0].device:
                raise ValueError(
                    f"level {number}'s class map lies on {scores.device}, its box map on {boxes.device}, and level 0's "
                    f"class map on {cls_scores[0].device}; bring all to one device"
                )
            expected = (len(metas), self.cls_out_channels, *scores.shape[2:])
            expected_boxes = (len(metas), bbox_preds[0].shape[1], *scores.shape[2:])
            if scores.shape != expected or boxes.shape != expected_boxes:
                raise ValueError(
                    f"level {number} has a class map {tuple(scores.shape)} and a box map {tuple(boxes.shape)} for "
                    f"{len(metas)} images and {self.cls_out_channels} classes; they must be "
                    "(images, classes, H, W) and (images, numbers a box, H, W)"
                )
        for given in instances:
            if given is not None and len(given) != len(metas):
                raise ValueError(
                    f"boxes of {len(given)} images came with maps of {len(metas)}; give one InstanceData an image"
                )

    def _check_labels(self, truths: GroundTruths) -> None:
        # Only where looking is free: a GPU would have to be waited for.
        if on_host(truths.labels) and len(truths):
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
            cls_scores: L maps (B, C, H, W) of class logits.
            bbox_preds: L maps (B, encode_size, H, W) of box numbers.
            score_factors: L maps (B, 1, H, W) of quality logits, where ``quality`` has a branch. Threshold and
                ``nms_pre`` look at the class score alone, as in MMDetection.
            batch_img_metas: ``img_shape`` of each image, and ``scale_factor`` where ``rescale``.
            cfg: test settings, or None for the head's own.
            rescale: whether boxes return to the original image's size.
            with_nms: whether NMS is done.

        Returns:
            ``bboxes``, ``scores`` and ``labels`` of each image.

        Raises:
            ValueError: for parts that do not belong together: other numbers of images, other sizes, other devices.
        """
        cfg = self.test_cfg if cfg is None else cfg
        cfg = cfg if isinstance(cfg, ConfigDict) else ConfigDict(cfg)  # of a model built without a config file
        self._check_batch(cls_scores, bbox_preds, batch_img_metas)
        if not batch_img_metas:
            return []
        boxes, found = self.decode_best(cls_scores, bbox_preds, score_factors, batch_img_metas, cfg)
        if with_nms and on_host(boxes) and isinstance(boxes, Tensor) and is_plain(cfg.get("nms")):
            return detections(boxes, found, batch_img_metas, cfg, rescale)
        results = []
        for number, meta in enumerate(batch_img_metas):
            own = found.image == number
            result = InstanceData(bboxes=boxes[own], scores=found.score[own], labels=found.label[own])
            results.append(self._bbox_post_process(result, cfg, rescale=rescale, with_nms=with_nms, img_meta=meta))
        return results

    def decode_best(
        self,
        cls_scores: Sequence[Tensor],
        bbox_preds: Sequence[Tensor],
        score_factors: Sequence[Tensor] | None,
        batch_img_metas: Sequence[dict],
        cfg: ConfigDict,
    ) -> tuple[Tensor, Survivors]:
        """The boxes of a batch before NMS: what torch.export can take of :meth:`predict_by_feat`.

        Args:
            cls_scores: as in :meth:`predict_by_feat`, and so are the others.
            bbox_preds: likewise.
            score_factors: likewise.
            batch_img_metas: likewise; at least one.
            cfg: ``score_thr`` and ``nms_pre``.

        Returns:
            (N, 4) boxes in pixels of the network's input, and their scores, labels and images.
        """
        device = cls_scores[0].device
        grid = Grid.of(self.layout, [level.shape[-2:] for level in cls_scores], device)
        found = survivors(cls_scores, cfg.get("score_thr", 0), cfg.get("nms_pre", -1))
        if score_factors is not None:
            found = replace(found, score=found.score * found.gather(score_factors).squeeze(1).sigmoid())
        limits = host_tensor([meta["img_shape"][:2] for meta in batch_img_metas], torch.float32, device)
        boxes = self.bbox_coder.decode(
            grid.center(found.level, found.location)[:, None],
            found.gather(bbox_preds)[:, None],
            max_shape=limits[found.image],
            stride=grid.stride[found.level][:, None],
        )
        return boxes[:, 0], found

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
                f"{len(self.gfl_reg.weight)} (reg_max={len(self.gfl_reg.weight) // 4 - 1}); set bbox_head.reg_max (or "
                "bbox_coder, where it is another) to the checkpoint's"
            )
        super()._load_from_state_dict(state_dict, prefix, *args)


def _scoped(config: dict) -> ConfigDict:
    """The config, its unscoped names looked up in this plugin first, then in MMDetection.

    MMEngine leaves the mark ``_delete_`` where the base has nothing to delete; it means the same here.
    """
    return ConfigDict({"_scope_": SCOPE, **{key: value for key, value in config.items() if key != "_delete_"}})


def _distance_coder(config: dict | None, reg_max: int | None) -> ConfigDict:
    """The coder's config, its reg_max, where it has one, settled between head and coder."""
    config = dict(config or {"type": "IntegralBBoxCoder"})
    if config["type"] in ("DistancePointBBoxCoder", "mmdet.DistancePointBBoxCoder", DistancePointBBoxCoder):
        config["type"] = "IntegralBBoxCoder"  # it decodes the same distances, and knows the bins
    kind = config["type"] if isinstance(config["type"], type) else TASK_UTILS.get(str(config["type"]))
    if not (isinstance(kind, type) and issubclass(kind, DistanceBBoxCoder)):
        raise ValueError(
            f"bbox_coder is a {config['type']}; GFLHead learns distances to a box's sides and needs "
            "bbox_coder=dict(type='gfl_plugin.IntegralBBoxCoder'), or GaussianBBoxCoder or DiracBBoxCoder"
        )
    if not issubclass(kind, IntegralBBoxCoder):
        if reg_max is not None:
            raise ValueError(f"reg_max is {reg_max}, but a {kind.__name__} has no bins; leave reg_max out")
        return _scoped(config)
    coder_reg_max = config.get("reg_max")
    if None not in (reg_max, coder_reg_max) and reg_max != coder_reg_max:
        raise ValueError(
            f"reg_max is {reg_max} in bbox_head and {coder_reg_max} in its bbox_coder; write it once, in bbox_head"
        )
    config["reg_max"] = next(value for value in (reg_max, coder_reg_max, 16) if value is not None)
    return _scoped(config)


def _batch_assigner(assigner: object) -> ATSSAssigner | FCOSAssigner | AdaptedAssigner:
    """The assigner, able to answer for a batch; DDOD's ATSS looks at predictions, which only the adapter gives it."""
    if isinstance(assigner, FCOSAssigner) or (isinstance(assigner, ATSSAssigner) and assigner.alpha is None):
        return assigner
    return AdaptedAssigner(assigner)


def _location_weights(
    grid: Grid, regions: ValidRegions, ignored: Sequence[Tensor] | None, positives: Positives, positive_weight: float
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
