"""The joint representation (Li et al., arXiv 2006.04388, Section 3.1): the class score is the quality."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..losses import QualityLoss
from ..registry import MODELS
from ..structures.class_targets import ClassTargets
from ..structures.matched import Matched
from ..structures.ramp import Ramp
from .base import QualityRepresentation, class_path
from .box_weights import box_weight_named
from .labelled_losses import NOT_LABELLED
from .measures import iou


@MODELS.register_module()
class JointQuality(QualityRepresentation):
    r"""One score per class, trained with QFL: its target is the IoU at the object's class and 0 elsewhere.

    In a warm-up, the target is :math:`1 - r (1 - IoU)`, where r goes linearly from 0 to 1: scores first learn the
    classes of objects, and the quality of their boxes later.

    Args:
        warmup: training steps until the target is the IoU; 0 for the IoU from the first step. Outside of a training it
            is the IoU.
        box_weight: weight of each positive in the box losses, before all are divided by their sum: "score" for the
            highest class score, "balanced" for that score divided by its mean over the positives of the same class,
            "iou" for the IoU (also in a warm-up), "one" for the same weight.

    Raises:
        ValueError: for a setting outside its range.
    """

    default_loss_cls = {"type": "QualityFocalLoss", "use_sigmoid": True, "beta": 2.0, "loss_weight": 1.0}

    def __init__(self, warmup: int = 0, box_weight: str = "score") -> None:
        super().__init__()
        self.warmup = Ramp(warmup, start=0.0, end=1.0)
        self._box_weight = box_weight_named(box_weight)

    def class_loss_config(self, config: dict) -> dict:
        # MMDetection's head would add a class for the background where the config leaves this out.
        return {"use_sigmoid": True, **super().class_loss_config(config)}

    def check_loss_cls(self, loss_cls: nn.Module) -> None:
        if not isinstance(loss_cls, QualityLoss):
            name = class_path(loss_cls)
            write = (
                "loss_cls=dict(type='gfl_plugin.QualityFocalLoss', use_sigmoid=True, beta=2.0, loss_weight=1.0), or "
                "another quality=dict(type=...)"
            )
            if isinstance(loss_cls, NOT_LABELLED):
                raise ValueError(
                    f"loss_cls is a {name}, which takes the quality of every location; GFLHead gives that of positives "
                    f"and needs {write}"
                )
            raise ValueError(f"loss_cls is a {name}, which takes no quality; GFLHead needs {write}")
        if loss_cls.activated:
            raise ValueError("loss_cls has activated=True, but GFLHead gives it logits; leave activated out")

    def target(self, matched: Matched) -> Tensor:
        quality = iou(matched)
        return torch.lerp(torch.ones_like(quality), quality, self.warmup.now())  # at 1 exactly the IoU

    def box_weight(self, matched: Matched, target: Tensor) -> Tensor:
        """See ``box_weight`` of the class.

        Args:
            matched: as in :meth:`target`.
            target: not used.

        Returns:
            (P,) weights >= 0.
        """
        return self._box_weight(matched)

    def class_losses(self, loss_cls: nn.Module, logits: Sequence[Tensor], targets: ClassTargets) -> list[Tensor]:
        return list(loss_cls.sparse(logits, targets).unbind())
