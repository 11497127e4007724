"""The joint representation (Li et al., arXiv 2006.04388, Eq. 5): the class score is the quality."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ..losses import QualityFocalLoss
from ..registry import MODELS
from ..structures.class_targets import ClassTargets
from .base import Matched, QualityRepresentation
from .measures import iou


@MODELS.register_module()
class JointQuality(QualityRepresentation):
    """One score: at the object's class its target is the IoU, elsewhere 0. Trained with QFL, used as it is."""

    default_loss_cls = {"type": "QualityFocalLoss", "use_sigmoid": True}

    def check_loss_cls(self, loss_cls: nn.Module) -> None:
        if not isinstance(loss_cls, QualityFocalLoss):
            raise ValueError(
                f"loss_cls is a {type(loss_cls).__name__}, which knows no quality; GFLHead needs "
                "loss_cls=dict(type='gfl_plugin.QualityFocalLoss', use_sigmoid=True, beta=2.0, loss_weight=1.0), or "
                "another quality=dict(type=...)"
            )
        if loss_cls.activated:
            raise ValueError("loss_cls has activated=True, but GFLHead gives it logits; leave activated out")

    def target(self, matched: Matched) -> Tensor:
        return iou(matched)

    def box_weight(self, matched: Matched, target: Tensor) -> Tensor:
        """The highest class score, as in the authors' code."""
        return matched.score

    def class_losses(self, loss_cls: nn.Module, logits: Sequence[Tensor], targets: ClassTargets) -> list[Tensor]:
        return list(
            loss_cls.sparse(
                logits, targets.positives, targets.label, targets.quality, targets.avg_factor, targets.weights
            ).unbind()
        )
