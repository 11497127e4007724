"""GFL's head as a student: it also learns the teacher's side distributions (Zheng et al., arXiv 2102.12252)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from mmdet.structures import SampleList
from mmdet.utils import InstanceList, OptInstanceList, reduce_mean
from torch import Tensor

from ..registry import MODELS
from ..structures.matched import Matched
from ..structures.positives import Positives, gather_locations
from .checks import check_soft_targets
from .gfl_defaults import LOSS_LD
from .gfl_head import GFLHead
from .gfl_settings import scoped

_EPS = 1e-6  # MMDetection's; keeps the divisor of the box losses above 0 where there is no positive


@MODELS.register_module()
class LDHead(GFLHead):
    r"""GFLHead with localization distillation at the positives.

    .. math:: L = L_{GFL} + \lambda \sum_z w_z \tfrac{1}{4} \sum_{side} L_{LD}(z, side)

    :math:`w_z` is the weight of a positive's box losses. Layers, interface and numbers are those of MMDetection's
    ``LDHead``, so two sums are divided by other numbers than one could expect: the distillation losses by none, and the
    box losses by the sum of all weights even where it is below 1, as for low scores at the start of a training.

    Args:
        *args: as GFLHead.
        loss_ld: loss of student's and teacher's distributions, LocalizationDistillationLoss with T = 10 and weight 0.25
            by default; MMDetection's name for it, KnowledgeDistillationKLDivLoss, means the same class.
        **kwargs: as GFLHead.

    Raises:
        ValueError: for a box coder without bins, or other parts that do not fit together.
    """

    def __init__(self, *args, loss_ld: dict | None = None, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if self.bbox_coder.bins() is None:
            raise ValueError(
                f"bbox_coder is a {type(self.bbox_coder).__name__}, whose sides are not distributions over bins; "
                "LDHead learns a teacher's distributions and needs bbox_coder=dict(type='IntegralBBoxCoder')"
            )
        self.loss_ld = MODELS.build(scoped(loss_ld or LOSS_LD))

    def loss(
        self, x: tuple[Tensor, ...], out_teacher: Sequence[list[Tensor]], batch_data_samples: SampleList
    ) -> dict[str, list[Tensor]]:
        """Losses of a batch; see :meth:`loss_by_feat`.

        Args:
            x: L feature maps (B, in_channels, H, W).
            out_teacher: outputs of the teacher's head; the second holds its box maps.
            batch_data_samples: ground truths and metadata of each image.

        Returns:
            As :meth:`loss_by_feat`.
        """
        return self._loss_of_outputs(batch_data_samples, *self(x), soft_targets=out_teacher[1])

    def loss_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        batch_gt_instances: InstanceList,
        batch_img_metas: Sequence[dict],
        soft_targets: list[Tensor],
        batch_gt_instances_ignore: OptInstanceList = None,
        score_factors: list[Tensor] | None = None,
    ) -> dict[str, list[Tensor]]:
        """Losses of a batch, computed in fp32 also under autocast; the distillation loss in fp64.

        Args:
            cls_scores: L maps (B, C, H, W) of class logits.
            bbox_preds: L maps (B, 4·(n+1), H, W) of distribution logits.
            batch_gt_instances: ``bboxes`` (pixels) and ``labels`` of each image.
            batch_img_metas: ``img_shape`` and ``pad_shape`` of each image.
            soft_targets: L maps (B, 4·(n+1), H, W) of the teacher's distribution logits.
            batch_gt_instances_ignore: ``bboxes`` of ignored regions of each image, or None.
            score_factors: L quality maps (B, D, H, W), where ``quality`` gives them.

        Returns:
            Those of GFLHead, and ``loss_ld``, a list of one scalar per level, fp32.

        Raises:
            ValueError: for soft targets of another shape than the student's box maps, and as GFLHead.
        """
        check_soft_targets(soft_targets, bbox_preds)
        return super().loss_by_feat(
            cls_scores,
            bbox_preds,
            batch_gt_instances,
            batch_img_metas,
            batch_gt_instances_ignore,
            score_factors,
            more_losses=partial(self._distillation, soft_targets),
        )

    def _box_avg_factor(self, total: Tensor) -> Tensor:
        return reduce_mean(total + _EPS)

    def _distillation(
        self, soft_targets: list[Tensor], matched: Matched, weight: Tensor, positives: Positives
    ) -> dict[str, list[Tensor]]:
        teacher = gather_locations([level.detach() for level in soft_targets], positives).float()
        sides = self.loss_ld(
            self.bbox_coder.sides(matched.raw), self.bbox_coder.sides(teacher), reduction_override="none"
        )
        rows = sides.view(-1, 4).mean(dim=1) * weight
        return {"loss_ld": list(positives.level_sums(rows).unbind())}
