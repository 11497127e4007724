"""The joint score in other families of heads: their assignment, their box loss, and QFL for their class loss."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from mmengine.config import ConfigDict
from torch import Tensor, nn

from ..losses import QualityFocalLoss
from ..ops.box_geometry import aligned_iou
from ..registry import SCOPE


class JudgedClassLoss(nn.Module):
    """QFL for a head that hands its class loss nothing but labels: the quality of each is told beforehand.

    Args:
        loss: a QualityFocalLoss.
    """

    def __init__(self, loss: QualityFocalLoss) -> None:
        super().__init__()
        self.loss = loss
        self.quality: Tensor | None = None  # (N,) of the rows that come next

    @contextlib.contextmanager
    def judging(self, quality: Tensor | None = None) -> Iterator[None]:
        """While this lasts, rows have this quality, or the one set meanwhile."""
        self.quality = quality
        try:
            yield
        finally:
            self.quality = None

    def forward(
        self,
        pred: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """See :class:`QualityFocalLoss`; ``label`` is (N,), and the quality is the one that was told."""
        return self.loss(pred, (label, self.quality), weight, avg_factor, reduction_override)


class JointScore:
    """Mix-in that makes a dense head's class score the joint score (Li et al., arXiv 2006.04388, Section 3.1).

    The target at a positive's class is the IoU of its predicted box and its object, elsewhere 0. It stands before
    MMDetection's head among the bases; that head's own ``loss_cls`` becomes a QualityFocalLoss.

    Args:
        loss_cls: a QualityFocalLoss.

    Raises:
        ValueError: for another loss.
    """

    def __init__(self, *args, loss_cls: dict | None = None, **kwargs) -> None:
        config = loss_cls or {"type": "QualityFocalLoss", "use_sigmoid": True}
        super().__init__(*args, loss_cls=ConfigDict({"_scope_": SCOPE, **config}), **kwargs)
        self._judge()

    def _judge(self) -> None:
        if not isinstance(self.loss_cls, QualityFocalLoss):
            raise ValueError(
                f"loss_cls is a {type(self.loss_cls).__name__}, which knows no quality; {type(self).__name__} needs "
                "loss_cls=dict(type='gfl_plugin.QualityFocalLoss', use_sigmoid=True, beta=2.0, loss_weight=1.0)"
            )
        self.loss_cls = JudgedClassLoss(self.loss_cls)

    def _positive(self, labels: Tensor) -> Tensor:
        """Bool, where a label is a class."""
        return (labels >= 0) & (labels < self.num_classes)

    def _anchor_quality(self, anchors: Tensor, bbox_pred: Tensor, labels: Tensor, bbox_targets: Tensor) -> Tensor:
        """(N,) quality of N anchors with labels (N,), predictions and targets (N, 4) as the coder codes them."""
        quality = bbox_pred.new_zeros(len(labels), dtype=torch.float32)
        rows = self._positive(labels)
        anchors, target = anchors[rows], bbox_targets[rows]
        if not self.reg_decoded_bbox:
            target = self.bbox_coder.decode(anchors, target)
        predicted = self.bbox_coder.decode(anchors, bbox_pred[rows].detach())
        quality[rows] = aligned_iou(predicted.float(), target.float())
        return quality

    def _distance_quality(self, distance: Tensor, labels: Tensor, target: Tensor) -> Tensor:
        """(N,) quality of N points with labels (N,), predicted and true distances (N, 4) to a box's sides."""
        quality = distance.new_zeros(len(labels), dtype=torch.float32)
        rows = self._positive(labels)
        # Overlap does not depend on where the point lies.
        quality[rows] = aligned_iou(_around_origin(distance[rows].detach()), _around_origin(target[rows]))
        return quality


def _around_origin(distance: Tensor) -> Tensor:
    near, far = distance.float().split_with_sizes((2, 2), dim=-1)
    return torch.cat([-near, far], dim=-1)


def flat_rows(maps: Sequence[Tensor], channels: int = 4) -> Tensor:
    """L maps (B, A·channels, H, W) -> (N, channels), level after level, as MMDetection's heads flatten them."""
    return torch.cat([level.permute(0, 2, 3, 1).reshape(-1, channels) for level in maps])
