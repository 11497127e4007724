"""A quality branch beside the class score: centerness as in FCOS and ATSS, or the IoU as in IoU-aware detectors."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from ..registry import MODELS
from ..structures.class_targets import ClassTargets
from ..structures.matched import Matched
from ..structures.positives import gather_locations
from .base import QualityRepresentation
from .measures import measure_named


@MODELS.register_module()
class QualityBranch(QualityRepresentation):
    """A convolution over the box tower predicts one quality logit per location; its sigmoid multiplies the class score.

    It is trained on positives only, with binary cross entropy against the measure, which also weights the box losses.

    Args:
        measure: "centerness" or "iou".
        loss_weight: factor of its loss.

    Raises:
        ValueError: for an unknown measure.
    """

    def __init__(self, measure: str = "centerness", loss_weight: float = 1.0) -> None:
        super().__init__()
        self.measure = measure
        self.loss_weight = loss_weight
        self._measure = measure_named(measure)

    def init_layers(self, feat_channels: int) -> None:
        self.conv = nn.Conv2d(feat_channels, 1, 3, padding=1)

    def outputs(self, cls_logits: Tensor, reg_feat: Tensor, box_raw: Tensor) -> tuple[Tensor, ...]:
        return cls_logits, box_raw, self.conv(reg_feat)

    def target(self, matched: Matched) -> Tensor:
        return self._measure(matched)

    def quality_losses(self, maps: Sequence[Tensor] | None, targets: ClassTargets) -> dict[str, list[Tensor]]:
        positives = targets.positives
        logits = gather_locations(maps, positives).squeeze(1).float()
        rows = binary_cross_entropy_with_logits(logits, targets.quality, reduction="none") * positives.active
        sums = positives.level_sums(rows * (self.loss_weight / targets.avg_factor))
        return {f"loss_{self.measure}": list(sums.unbind())}

    def score(self, cls_score: Tensor, quality: Tensor | None) -> Tensor:
        return cls_score * quality.squeeze(1).sigmoid()
