"""Quality as a weight of the class loss of positives; it is not used at test time."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ..registry import MODELS
from ..structures.class_targets import ClassTargets
from ..structures.matched import Matched
from .base import QualityRepresentation
from .labelled_losses import labelled_losses
from .measures import measure_named


@MODELS.register_module()
class GuidedQuality(QualityRepresentation):
    """Weights the class loss and the box losses of each positive by a quality measure; the score is the class score.

    Args:
        measure: "centerness" or "iou".

    Raises:
        ValueError: for an unknown measure.
    """

    def __init__(self, measure: str = "centerness") -> None:
        super().__init__()
        self._measure = measure_named(measure)

    def target(self, matched: Matched) -> Tensor:
        return self._measure(matched)

    def class_losses(self, loss_cls: nn.Module, logits: Sequence[Tensor], targets: ClassTargets) -> list[Tensor]:
        return labelled_losses(loss_cls, logits, targets, positive_weight=targets.quality)
