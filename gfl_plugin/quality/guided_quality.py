"""Quality as a guide: it weights the class loss of the positives, and nothing of it is left at test time."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ..registry import MODELS
from ..structures.class_targets import ClassTargets
from .base import Matched, QualityRepresentation, labelled_losses
from .measures import measure_named


@MODELS.register_module()
class GuidedQuality(QualityRepresentation):
    """The measure weights each positive's class loss and box losses; the score is the class score.

    Args:
        measure: "centerness" or "iou".

    Raises:
        ValueError: for an unknown measure.
    """

    def __init__(self, measure: str = "centerness") -> None:
        super().__init__()
        self._measured = measure_named(measure)

    def target(self, matched: Matched) -> Tensor:
        return self._measured(matched)

    def class_losses(self, loss_cls: nn.Module, logits: Sequence[Tensor], targets: ClassTargets) -> list[Tensor]:
        return labelled_losses(loss_cls, logits, targets, positive_weight=targets.quality)
