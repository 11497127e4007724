"""MMDetection's RetinaNet, SSD, FoveaBox and FCOS heads, with the joint score as the only change."""

from __future__ import annotations

import math

import torch
from mmdet.models.dense_heads import FCOSHead, FoveaHead, RetinaHead, SSDHead
from mmdet.models.losses import smooth_l1_loss
from mmengine.config import ConfigDict
from torch import Tensor, nn

from ..registry import MODELS, SCOPE
from .joint_score import JointScore, flat_rows


@MODELS.register_module()
class RetinaQFLHead(JointScore, RetinaHead):
    """MMDetection's RetinaHead with the joint score: nine anchors per location, max-IoU assignment, L1 box loss.

    Args:
        *args: as RetinaHead.
        loss_cls: a QualityFocalLoss.
        **kwargs: as RetinaHead.
    """

    def loss_by_feat_single(
        self, cls_score: Tensor, bbox_pred: Tensor, anchors: Tensor, labels: Tensor, label_weights: Tensor,
        bbox_targets: Tensor, *rest, **named,
    ) -> tuple:  # fmt: skip
        """RetinaHead's losses of one level, with the IoUs of its anchors' boxes as quality targets.

        Args:
            cls_score: (B, A·C, H, W) class logits, A anchors per location.
            bbox_pred: (B, A·4, H, W) encoded boxes.
            anchors: (B, A·H·W, 4) x1, y1, x2, y2, pixels.
            labels: (B, A·H·W) class indices; C is background.
            label_weights: (B, A·H·W).
            bbox_targets: (B, A·H·W, 4) encoded boxes.
            *rest: as RetinaHead.
            **named: as RetinaHead.

        Returns:
            Class loss and box loss, scalars.
        """
        quality = self._anchor_quality(
            anchors.reshape(-1, 4), flat_rows([bbox_pred]), labels.reshape(-1), bbox_targets.reshape(-1, 4)
        )
        with self.loss_cls.with_quality(quality):
            return super().loss_by_feat_single(
                cls_score, bbox_pred, anchors, labels, label_weights, bbox_targets, *rest, **named
            )


@MODELS.register_module()
class SSDQFLHead(JointScore, SSDHead):
    """MMDetection's SSDHead with the joint score: sigmoids instead of a softmax, all negatives instead of hard ones.

    Args:
        *args: as SSDHead.
        loss_cls: a QualityFocalLoss.
        prior_prob: score at initialization.
        **kwargs: as SSDHead.
    """

    def __init__(self, *args, loss_cls: dict | None = None, prior_prob: float = 0.01, **kwargs) -> None:
        SSDHead.__init__(self, *args, **kwargs)  # which takes no loss_cls
        self.prior_prob = prior_prob
        self.use_sigmoid_cls = True
        config = loss_cls or {"type": "QualityFocalLoss", "use_sigmoid": True}
        self.loss_cls = MODELS.build(ConfigDict({"_scope_": SCOPE, **config}))
        self._wrap_loss()

    def _init_layers(self) -> None:
        self.cls_out_channels = self.num_classes  # no score for the background
        super()._init_layers()

    def init_weights(self) -> None:
        super().init_weights()
        for level in self.cls_convs:
            nn.init.constant_(level[-1].bias, -math.log(1 / self.prior_prob - 1))

    def loss_by_feat_single(
        self, cls_score: Tensor, bbox_pred: Tensor, anchor: Tensor, labels: Tensor, label_weights: Tensor,
        bbox_targets: Tensor, bbox_weights: Tensor, avg_factor: int,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Losses of one image.

        Args:
            cls_score: (N, C) class logits of all anchors.
            bbox_pred: (N, 4) encoded boxes.
            anchor: (N, 4) x1, y1, x2, y2, pixels.
            labels: (N,) class indices; C is background.
            label_weights: (N,).
            bbox_targets: (N, 4) encoded boxes.
            bbox_weights: (N, 4).
            avg_factor: divisor of both losses.

        Returns:
            (1,) class loss and scalar box loss.
        """
        with self.loss_cls.with_quality(self._anchor_quality(anchor, bbox_pred, labels, bbox_targets)):
            loss_cls = self.loss_cls(cls_score, labels, label_weights, avg_factor=avg_factor)
        if self.reg_decoded_bbox:
            bbox_pred = self.bbox_coder.decode(anchor, bbox_pred)
        beta = self.train_cfg["smoothl1_beta"]
        loss_bbox = smooth_l1_loss(bbox_pred, bbox_targets, bbox_weights, beta=beta, avg_factor=avg_factor)
        return loss_cls[None], loss_bbox


class _PointHead(JointScore):
    """Mix-in for heads that flatten all levels and call their class loss once, with labels only."""

    _distances: Tensor | None = None  # (N, 4) predicted, while losses are computed

    def loss_by_feat(self, cls_scores: list[Tensor], bbox_preds: list[Tensor], *rest, **named) -> dict[str, Tensor]:
        """The parent's losses, with the targets of the joint score."""
        self._distances = self._as_distances(flat_rows(bbox_preds))
        try:
            with self.loss_cls.with_quality():
                return super().loss_by_feat(cls_scores, bbox_preds, *rest, **named)
        finally:
            self._distances = None

    def get_targets(self, *args, **named) -> tuple:
        """The parent's targets; sets the quality targets that belong to them."""
        labels, targets = super().get_targets(*args, **named)
        if self._distances is None:
            return labels, targets
        if isinstance(labels, Tensor):
            flat_labels, flat_targets = labels, targets
        else:
            flat_labels, flat_targets = torch.cat(labels), torch.cat(targets)
        self.loss_cls.quality = self._distance_quality(self._distances, flat_labels, self._as_distances(flat_targets))
        return labels, targets

    def _as_distances(self, coded: Tensor) -> Tensor:
        """Encoded boxes (N, 4) as distances to their sides, in the same unit for predictions and targets."""
        return coded


@MODELS.register_module()
class FoveaQFLHead(_PointHead, FoveaHead):
    """MMDetection's FoveaHead with the joint score.

    Args:
        *args: as FoveaHead.
        loss_cls: a QualityFocalLoss.
        **kwargs: as FoveaHead.
    """

    def _as_distances(self, coded: Tensor) -> Tensor:
        return coded.exp()


@MODELS.register_module()
class FCOSQFLHead(_PointHead, FCOSHead):
    """MMDetection's FCOSHead with the joint score and no centerness branch; centerness still weights boxes.

    Args:
        *args: as FCOSHead.
        loss_cls: a QualityFocalLoss.
        **kwargs: as FCOSHead.
    """

    def _init_layers(self) -> None:
        super()._init_layers()
        self.conv_centerness = nn.Identity()  # the parent's forward calls it

    def forward(self, x: tuple[Tensor, ...]) -> tuple[list[Tensor], list[Tensor]]:
        """Class and box maps of each level.

        Args:
            x: L feature maps (B, in_channels, H, W).

        Returns:
            L maps (B, C, H, W) of class logits and L maps (B, 4, H, W) of distances.
        """
        cls_scores, bbox_preds, _ = super().forward(x)
        return cls_scores, bbox_preds

    def loss_by_feat(self, cls_scores: list[Tensor], bbox_preds: list[Tensor], *rest, **named) -> dict[str, Tensor]:
        """FCOSHead's losses without that of the centerness branch.

        Args:
            cls_scores: L maps (B, C, H, W) of class logits.
            bbox_preds: L maps (B, 4, H, W) of distances.
            *rest: as FCOSHead.
            **named: as FCOSHead.

        Returns:
            ``loss_cls`` and ``loss_bbox``, scalars.
        """
        unused = [level.new_zeros(len(level), 1, *level.shape[-2:]) for level in cls_scores]
        losses = super().loss_by_feat(cls_scores, bbox_preds, unused, *rest, **named)
        losses.pop("loss_centerness")
        return losses
