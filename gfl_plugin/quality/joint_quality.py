"""The joint representation (Li et al., arXiv 2006.04388, Section 3.1): the class score is the quality."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ..losses import QualityFocalLoss
from ..registry import MODELS
from ..structures.class_targets import ClassTargets
from ..structures.matched import Matched
from .base import QualityRepresentation
from .measures import iou


@MODELS.register_module()
class JointQuality(QualityRepresentation):
    """One score per class, trained with QFL: its target is the IoU at the object's class and 0 elsewhere."""

    default_loss_cls = {"type": "QualityFocalLoss", "use_sigmoid": True, "beta": 2.0, "loss_weight": 1.0}

    def check_loss_cls(self, loss_cls: nn.Module) -> None:
        if not isinstance(loss_cls, QualityFocalLoss):
            raise ValueError(
                f"loss_cls is a {type(loss_cls).__name__}, which takes no quality; GFLHead needs "
                "loss_cls=dict(type='gfl_plugin.QualityFocalLoss', use_sigmoid=True, beta=2.0, loss_weight=1.0), or "
                "another quality=dict(type=...)"
            )
        if loss_cls.activated:
            raise ValueError("loss_cls has activated=True, but GFLHead gives it logits; leave activated out")

    def target(self, matched: Matched) -> Tensor:
        return iou(matched)

    def box_weight(self, matched: Matched, target: Tensor) -> Tensor:
        """The highest class score at each positive, as in the authors' code.

        Args:
            matched: as in :meth:`target`.
            target: not used.

        Returns:
            (P,) weights in [0, 1].
        """
        return matched.score

    def class_losses(self, loss_cls: nn.Module, logits: Sequence[Tensor], targets: ClassTargets) -> list[Tensor]:
        return list(loss_cls.sparse(logits, targets).unbind())
