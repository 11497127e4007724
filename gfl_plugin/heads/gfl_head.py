"""The Generalized Focal Loss head (Li et al., arXiv 2006.04388): towers, quality, box coder, assigner and losses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.models.dense_heads import GFLHead as MMDetGFLHead
from mmdet.models.task_modules.samplers import PseudoSampler
from mmdet.models.utils import unpack_gt_instances
from mmdet.structures import SampleList
from mmdet.utils import InstanceList, OptInstanceList, reduce_mean
from torch import Tensor, nn

from ..assigners import Predictions, as_batch_assigner
from ..ops.not_compiled import not_compiled
from ..registry import MODELS
from ..structures.class_targets import ClassTargets
from ..structures.grid import Grid, Layout
from ..structures.ground_truths import GroundTruths
from ..structures.valid_regions import ValidRegions
from .box_losses import PositiveLosses, box_losses, match
from .box_uncertainty import side_fields_of
from .checks import (
    check_bins_of,
    check_box_loss,
    check_instances,
    check_labels,
    check_maps,
    check_positives,
    check_quality_weights,
    check_state_dict,
    keep_bins,
)
from .gfl_defaults import LOSS_BBOX
from .gfl_settings import (
    build_quality,
    build_side_loss,
    class_loss_config,
    coder_config,
    initialization,
    scoped,
    train_settings,
)
from .location_weights import location_weights
from .prediction import DensePrediction


@MODELS.register_module()
class GFLHead(DensePrediction, MMDetGFLHead):
    r"""GFL's head: a joint classification-quality score, and box sides as general distributions.

    .. math:: L = \frac{1}{N_{pos}}\sum_z L_Q
        + \frac{1}{W}\sum_z 1_{c^*_z > 0}\,w_z (\lambda_0 L_B + \lambda_1 L_D)

    :math:`w_z` is the highest class score at z (without gradient), W their sum; N_pos and W are averaged over workers.

    By default it has the layers, the state dict, the interface and the numbers of MMDetection's ``GFLHead``. Quality
    representation (``quality``), box coder (``bbox_coder``) and assigner (``train_cfg.assigner``) can each be replaced.
    Names in its config without a scope (``type='QualityFocalLoss'``) mean this plugin's class where it has one, else
    MMDetection's.

    Args:
        num_classes: C.
        in_channels: channels of the feature maps.
        reg_max: n, the index of a side's last bin. May be left out where ``bbox_coder`` gives it.
        quality: JointQuality by default; DistributionGuidedQuality (GFLV2), NoQuality, QualityBranch, GuidedQuality, or
            your own QualityRepresentation.
        loss_cls: by default that of the quality representation: a QualityFocalLoss for JointQuality and
            DistributionGuidedQuality, else a FocalLoss.
        loss_dfl: loss of sides as ``bbox_coder`` represents them: DistributionFocalLoss for an IntegralBBoxCoder,
            GaussianNLLLoss for a GaussianBBoxCoder. None for no such loss; "by_coder" for the default
            of the coder.
        loss_bbox: loss of decoded boxes with one value per box, GIoULoss by default.
        bbox_coder: an IntegralBBoxCoder by default, or GaussianBBoxCoder, DiracBBoxCoder.
        train_cfg: ``assigner`` (a BatchAssigner such as ATSSAssigner, or one of MMDetection's assigners),
            ``allowed_border``, ``pos_weight``.
        **kwargs: as MMDetection's GFLHead. ``test_cfg`` also takes ``with_uncertainty``, ``with_distributions`` and
            ``intervals``, see :meth:`predict_by_feat`.

    Raises:
        ValueError: for parts that do not fit together; the message says what was given and what to write.
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
        quality = build_quality(quality)
        coder = coder_config(bbox_coder, reg_max)
        super().__init__(
            num_classes,
            in_channels,
            # MMDetection's own integral and gfl_reg, replaced below where the coder has other numbers per side
            **({"reg_max": coder["reg_max"]} if "reg_max" in coder else {}),
            loss_cls=class_loss_config(loss_cls, quality),
            loss_bbox=scoped(loss_bbox or LOSS_BBOX),
            bbox_coder=coder,
            train_cfg=train_settings(train_cfg),
            **{**initialization(coder), **kwargs},
        )
        self.quality = quality
        self.quality.check_coder(self.bbox_coder)
        self.quality.init_layers(self.feat_channels)
        self.quality.check_loss_cls(self.loss_cls)
        self.loss_dfl = build_side_loss(loss_dfl, self.bbox_coder)
        self.bbox_coder.check_side_loss(self.loss_dfl)
        check_bins_of(self.loss_dfl)
        check_box_loss(self.loss_bbox)
        side_fields_of(self.test_cfg, self.bbox_coder)  # checks them
        if self.train_cfg:
            self.assigner = as_batch_assigner(self.assigner)
            if not isinstance(self.sampler, PseudoSampler):
                raise ValueError(
                    f"train_cfg.sampler is a {type(self.sampler).__name__}; GFLHead trains on every location, leave it "
                    "out"
                )
        bins = self.bbox_coder.bins()
        if bins is None:
            del self.integral  # its bins would be saved with the weights
        else:
            self.integral.project = bins

    @property
    def num_anchors(self) -> int:
        """Priors per location. MMDetection's property warns of its name, which MMDetection's GFLHead uses itself."""
        return self.num_base_priors

    def _init_layers(self) -> None:
        self.layout = Layout.of(self.prior_generator)
        super()._init_layers()
        if self.gfl_reg.out_channels != self.bbox_coder.encode_size:
            self.gfl_reg = nn.Conv2d(self.feat_channels, self.bbox_coder.encode_size, 3, padding=1)

    def forward_single(self, x: Tensor, scale: nn.Module) -> tuple[Tensor, ...]:
        """Outputs of one level.

        Args:
            x: (B, in_channels, H, W) features.
            scale: the level's learned factor of box numbers.

        Returns:
            Class logits, box numbers (fp32), and the quality maps if ``quality`` has any.
        """
        cls_feat = reg_feat = x
        for cls_conv in self.cls_convs:
            cls_feat = cls_conv(cls_feat)
        for reg_conv in self.reg_convs:
            reg_feat = reg_conv(reg_feat)
        return self.quality.outputs(self.gfl_cls(cls_feat), reg_feat, scale(self.gfl_reg(reg_feat)).float())

    def loss(self, x: tuple[Tensor, ...], batch_data_samples: SampleList) -> dict[str, list[Tensor]]:
        """Losses of a batch; see :meth:`loss_by_feat`.

        torch.compile compiles the layers. The losses are excluded, because the number of objects changes with every
        batch and each new number would be compiled again.

        Args:
            x: L feature maps (B, in_channels, H, W).
            batch_data_samples: ground truths and metadata of each image.

        Returns:
            As :meth:`loss_by_feat`.
        """
        return self._loss_of_outputs(batch_data_samples, *self(x))

    @not_compiled
    def _loss_of_outputs(
        self,
        batch_data_samples: SampleList,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        score_factors: list[Tensor] | None = None,
        **more: list[Tensor],
    ) -> dict[str, list[Tensor]]:
        truths, ignored, metas = unpack_gt_instances(batch_data_samples)
        return self.loss_by_feat(
            cls_scores,
            bbox_preds,
            truths,
            metas,
            batch_gt_instances_ignore=ignored,
            score_factors=score_factors,
            **more,
        )

    def loss_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        batch_gt_instances: InstanceList,
        batch_img_metas: Sequence[dict],
        batch_gt_instances_ignore: OptInstanceList = None,
        score_factors: list[Tensor] | None = None,
        more_losses: PositiveLosses | None = None,
    ) -> dict[str, list[Tensor]]:
        """Losses of a batch, computed in fp32 also under autocast.

        Args:
            cls_scores: L maps (B, C, H, W) of class logits.
            bbox_preds: L maps (B, encode_size, H, W) of box numbers: 4·(n+1) distribution logits.
            batch_gt_instances: ``bboxes`` (pixels) and ``labels`` of each image.
            batch_img_metas: ``img_shape`` and ``pad_shape`` of each image.
            batch_gt_instances_ignore: ``bboxes`` of ignored regions of each image, or None.
            score_factors: L quality maps (B, D, H, W), where ``quality`` gives them.
            more_losses: computes further losses at the positives, for subclasses.

        Returns:
            ``loss_cls``, ``loss_bbox``, ``loss_dfl`` if there is one, the losses of ``quality``, and ``more_losses``,
            each a list of one scalar per level, fp32.

        Raises:
            ValueError: for a label that is not a class index, an image without a location, a batch without an image, an
                assigner's positive that does not exist (checked on a CPU only), or inputs that do not fit together:
                different numbers of images, sizes or devices.
        """
        if not batch_img_metas:
            raise ValueError("the batch holds no image, so it has no losses")
        check_maps(cls_scores, bbox_preds, len(batch_img_metas), self.cls_out_channels)
        check_instances(batch_gt_instances, len(batch_img_metas))
        check_instances(batch_gt_instances_ignore, len(batch_img_metas))
        device = cls_scores[0].device
        with torch.autocast(device.type, enabled=False):
            grid = Grid.of(self.layout, [level.shape[-2:] for level in cls_scores], device)
            regions = ValidRegions.of(grid, batch_img_metas, self.train_cfg["allowed_border"])
            truths = GroundTruths.of(batch_gt_instances, device)
            check_labels(truths, self.num_classes)
            given = batch_gt_instances_ignore
            ignored = None if given is None else GroundTruths.of(given, device)
            predictions = Predictions(cls_scores, bbox_preds, self.bbox_coder)
            assignment = self.assigner.assign_batch(truths, ignored, grid, regions, predictions)
            positives = assignment.positives
            check_positives(positives, truths, grid, self.assigner)

            matched = match(cls_scores, bbox_preds, truths, grid, positives, self.bbox_coder)
            constants = matched.detached()
            quality = self.quality.target(constants)
            weight = torch.where(positives.active, self.quality.box_weight(constants, quality), 0.0)
            share = weight / self._box_avg_factor(weight.sum())
            # As in MMDetection, an image without a positive counts as one.
            per_image = quality.new_zeros(len(truths.counts))
            per_image.index_add_(0, positives.image, positives.active.to(quality))
            targets = ClassTargets(
                positives=positives,
                label=matched.label,
                quality=quality,
                avg_factor=reduce_mean(per_image.clamp(min=1).sum()),
                weights=location_weights(grid, regions, assignment.ignored, positives, self._pos_weight),
            )
            return {
                "loss_cls": self.quality.class_losses(self.loss_cls, cls_scores, targets),
                **box_losses(matched, share, positives, self.bbox_coder, self.loss_bbox, self.loss_dfl),
                **self.quality.quality_losses(score_factors, targets),
                **(more_losses(matched, weight, positives) if more_losses else {}),
            }

    def _box_avg_factor(self, total: Tensor) -> Tensor:
        """Divisor of the box losses, from the sum of all weights of this worker."""
        return reduce_mean(total).clamp(min=1)

    @property
    def _pos_weight(self) -> float:
        """Weight of positive locations; in MMDetection's configs any number <= 0 means 1."""
        weight = self.train_cfg["pos_weight"]
        return weight if weight > 0 else 1.0

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        check_state_dict(state_dict, prefix, self.gfl_reg.out_channels)
        keep_bins(state_dict, prefix, self.bbox_coder.bins())
        check_quality_weights(state_dict, prefix, list(self.quality.state_dict()))
        outer = tuple(prefix + name for name in self.quality.outer_prefixes)
        for key in [key for key in state_dict if key.startswith(outer)]:
            state_dict[f"{prefix}quality.{key[len(prefix) :]}"] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, *args)
