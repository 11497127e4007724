"""The joint score in other families of heads: QFL replaces their class loss, everything else is unchanged."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from mmengine.config import ConfigDict
from torch import Tensor, nn

from ..losses import QualityLoss
from ..ops.box_geometry import aligned_iou
from ..quality.base import class_path
from ..registry import SCOPE
from .box_intervals import OPTION as INTERVALS
from .box_uncertainty import OPTIONS


class ClassLossWithQuality(nn.Module):
    """A loss with qualities for a head that passes only labels to it: quality targets are set before the call.

    Args:
        loss: a QualityFocalLoss, or another QualityLoss.
    """

    def __init__(self, loss: QualityLoss) -> None:
        super().__init__()
        self.loss = loss
        self.quality: Tensor | None = None  # (N,) targets of the rows of the next call

    @contextlib.contextmanager
    def with_quality(self, quality: Tensor | None = None) -> Iterator[None]:
        """Within the context, calls use these quality targets, or those assigned to ``quality`` meanwhile.

        Args:
            quality: (N,) one target per row, in [0, 1].

        Yields:
            Nothing.
        """
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
        """The loss with labels from the call and quality targets from the context; see :class:`QualityLoss`.

        Args:
            pred: (N, C) logits.
            label: (N,) class indices; a label outside [0, C) is background.
            weight: (N,) weights, or None.
            avg_factor: divisor of the mean, or None for N.
            reduction_override: replaces the loss's reduction in this call.

        Returns:
            The loss.
        """
        return self.loss(pred, (label, self.quality), weight, avg_factor, reduction_override)


class JointScore:
    """Mix-in that makes a dense head's class score the joint score (Li et al., arXiv 2006.04388, Section 3.1).

    The target is the IoU of predicted box and object at a positive's class, and 0 elsewhere. The mix-in precedes
    MMDetection's head among the bases and replaces its ``loss_cls`` by a QualityLoss.

    Args:
        loss_cls: a QualityFocalLoss, or another QualityLoss.

    Raises:
        ValueError: for another loss, or test settings that only GFLHead has.
    """

    def __init__(self, *args, loss_cls: dict | None = None, **kwargs) -> None:
        config = loss_cls or {"type": "QualityFocalLoss", "use_sigmoid": True}
        super().__init__(*args, loss_cls=ConfigDict({"_scope_": SCOPE, **config}), **kwargs)
        self._wrap_loss()

    def _wrap_loss(self) -> None:
        if not isinstance(self.loss_cls, QualityLoss):
            raise ValueError(
                f"loss_cls is a {class_path(self.loss_cls)}; {type(self).__name__} needs "
                "loss_cls=dict(type='gfl_plugin.QualityFocalLoss', use_sigmoid=True, beta=2.0, loss_weight=1.0)"
            )
        self.loss_cls = ClassLossWithQuality(self.loss_cls)
        asked = [option for option in (*OPTIONS, INTERVALS) if (self.test_cfg or {}).get(option)]
        if asked:  # MMDetection's prediction, which this head uses, would ignore them
            raise ValueError(
                f"test_cfg.{asked[0]} is set, but a {type(self).__name__} predicts one number per side, without "
                f"uncertainty; use gfl_plugin.GFLHead (gfl-plugin swap --head gfl), or leave {asked[0]} out"
            )

    def _positive(self, labels: Tensor) -> Tensor:
        """Whether each label is a class, bool."""
        return (labels >= 0) & (labels < self.num_classes)

    def _anchor_quality(self, anchors: Tensor, bbox_pred: Tensor, labels: Tensor, bbox_targets: Tensor) -> Tensor:
        """(N,) IoU at N anchors, 0 at background; predictions and targets (N, 4) are encoded by the head's coder."""
        quality = bbox_pred.new_zeros(len(labels), dtype=torch.float32)
        rows = self._positive(labels)
        anchors, target = anchors[rows], bbox_targets[rows]
        if not self.reg_decoded_bbox:
            target = self.bbox_coder.decode(anchors, target)
        predicted = self.bbox_coder.decode(anchors, bbox_pred[rows].detach())
        quality[rows] = aligned_iou(predicted.float(), target.float())
        return quality

    def _distance_quality(self, distance: Tensor, labels: Tensor, target: Tensor) -> Tensor:
        """(N,) IoU at N points, 0 at background; ``distance`` and ``target`` (N, 4) are distances to a box's sides."""
        quality = distance.new_zeros(len(labels), dtype=torch.float32)
        rows = self._positive(labels)
        # The IoU does not depend on the point's position.
        quality[rows] = aligned_iou(_around_origin(distance[rows].detach()), _around_origin(target[rows]))
        return quality


def _around_origin(distance: Tensor) -> Tensor:
    near, far = distance.float().split_with_sizes((2, 2), dim=-1)
    return torch.cat([-near, far], dim=-1)


def flat_rows(maps: Sequence[Tensor], channels: int = 4) -> Tensor:
    """Flatten maps in the order of MMDetection's heads.

    Args:
        maps: L maps (B, A·channels, H, W).
        channels: numbers per prior.

    Returns:
        (N, channels), level after level.
    """
    return torch.cat([level.permute(0, 2, 3, 1).reshape(-1, channels) for level in maps])
