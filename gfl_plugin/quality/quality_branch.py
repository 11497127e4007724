"""A quality branch: FCOS's and ATSS's centerness, or the IoU of IoU-aware detectors, beside the class score."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from ..registry import MODELS
from ..structures.class_targets import ClassTargets
from ..structures.positives import gather_locations
from .base import Matched, QualityRepresentation
from .measures import measure_named


@MODELS.register_module()
class QualityBranch(QualityRepresentation):
    """A convolution over the box tower gives a quality logit a location; its sigmoid multiplies the class score.

    It is trained on positives only, with binary cross entropy against the measure, which also weights the box losses.

    Args:
        measure: "centerness" or "iou".
        loss_weight: factor of its loss.

    Raises:
        ValueError: for an unknown measure.
    """

    has_branch = True

    def __init__(self, measure: str = "centerness", loss_weight: float = 1.0) -> None:
        super().__init__()
        self.measure = measure
        self._measured = measure_named(measure)
        self.loss_weight = loss_weight

    def init_layers(self, feat_channels: int) -> None:
        self.conv = nn.Conv2d(feat_channels, 1, 3, padding=1)

    def outputs(self, cls_logits: Tensor, reg_feat: Tensor, box_raw: Tensor) -> tuple[Tensor, ...]:
        return cls_logits, box_raw, self.conv(reg_feat)

    def target(self, matched: Matched) -> Tensor:
        return self._measured(matched)

    def branch_losses(self, quality_logits: Sequence[Tensor] | None, targets: ClassTargets) -> dict[str, list[Tensor]]:
        positives = targets.positives
        logits = gather_locations(quality_logits, positives).squeeze(1).float()
        rows = binary_cross_entropy_with_logits(logits, targets.quality, reduction="none") * positives.active
        sums = positives.level_sums(rows * (self.loss_weight / targets.avg_factor))
        return {f"loss_{self.measure}": list(sums.unbind())}
