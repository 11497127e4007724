"""Rows for localization distillation: losses and backward of a student, given its teacher's maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ...heads.gfl_defaults import LOSS_LD
from .case import BenchmarkCase
from .checks import agreement, total
from .heads import build_heads
from .machine_limits import MachineLimits
from .paired_cost import alternate_times
from .row import Row, differences_text, row_of_times, row_relative_to_gfl
from .settings import Report, Settings

_KINDS = ("mmdet.LDHead", "gfl_plugin.LDHead")
_NAME = "LD: loss + backward"


class Student:
    """A head with the maps of its teacher, whose losses are called as those of GFLHead.

    Args:
        head: LDHead of MMDetection or of the plugin.
        teacher: per level (B, 4·(n+1), H, W) distribution logits of the teacher.
    """

    def __init__(self, head: nn.Module, teacher: list[Tensor]) -> None:
        self.head = head
        self.teacher = teacher

    def loss_by_feat(
        self,
        cls_logits: list[Tensor],
        box_logits: list[Tensor],
        objects: Sequence[InstanceData],
        metas: Sequence[dict],
    ) -> dict[str, list[Tensor]]:
        """Losses of the head.

        Args:
            cls_logits: per level (B, C, H, W).
            box_logits: per level (B, 4·(n+1), H, W).
            objects: boxes and labels of each image.
            metas: metadata of each image.

        Returns:
            Per name, one loss per level.
        """
        return self.head.loss_by_feat(cls_logits, box_logits, objects, metas, self.teacher)


class _InDouble(nn.Module):
    """A distillation loss of MMDetection, computed in fp64."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, student: Tensor, teacher: Tensor, **named: object) -> Tensor:
        return self.loss(student.double(), teacher.double(), **named).float()


def ld_rows(settings: Settings, limits: MachineLimits, report: Report) -> Iterator[Row]:
    """Measure losses and backward of localization distillation, also relative to GFL's.

    GFL and LD, of MMDetection and of the plugin, take turns. The teacher's maps are inputs, since its forward pass is
    the same for both heads. Times are those of both heads as they are, numbers are compared as in
    :func:`ld_agreement`.

    Args:
        settings: settings of the benchmark.
        limits: limits of the machine.
        report: function that is called with the name of the current measurement.

    Yields:
        The rows.

    Raises:
        Disagreement: if the numbers of the two heads differ.
    """
    case, device = settings.case(), settings.device
    students, plain = build_students(case, device), build_heads(settings.classes, device)
    report("LD: comparing losses and gradients")
    differences = differences_text(ld_agreement(case, *students))
    report(_NAME)
    runs = [lambda head=head: _step(head, case) for head in (*students, *plain)]
    times = alternate_times(runs, settings.runs, device)
    yield row_of_times(_NAME, [turn[:2] for turn in times], _floor(case, limits), differences)
    yield row_relative_to_gfl(_NAME, times)


def build_students(case: BenchmarkCase, device: str = "cpu") -> tuple[Student, Student]:
    """Build both heads with equal weights and the same teacher, whose logits are the student's and normal noise.

    Args:
        case: inputs of the students.
        device: device of the heads.

    Returns:
        The student with MMDetection's head, the one with the plugin's.
    """
    # The name of the loss that both have; MMDetection's default is a name that it lacks.
    loss = {**LOSS_LD, "type": "KnowledgeDistillationKLDivLoss"}
    theirs, ours = build_heads(case.classes, device, _KINDS, loss_ld=loss)
    random = torch.Generator().manual_seed(1)
    teacher = [level + torch.randn(level.shape, generator=random).to(device) for level in case.bbox_preds]
    return Student(theirs, teacher), Student(ours, teacher)


def ld_agreement(case: BenchmarkCase, theirs: Student, ours: Student) -> dict[str, float]:
    """Compute the largest differences of losses and gradients, with MMDetection's distillation loss in fp64.

    Both heads compute the same formulas, but MMDetection's divergence is computed in fp32, where terms of different
    sign nearly cancel at T = 10, and the plugin's in fp64.

    Args:
        case: inputs.
        theirs: the student with MMDetection's head.
        ours: the student with the plugin's head.

    Returns:
        See :func:`checks.agreement`.

    Raises:
        Disagreement: see :func:`checks.agreement`.
    """
    loss = theirs.head.loss_ld
    theirs.head.loss_ld = _InDouble(loss)
    try:
        return agreement(case, theirs, ours)
    finally:
        theirs.head.loss_ld = loss


def _step(head: Student | nn.Module, case: BenchmarkCase) -> None:
    total(head.loss_by_feat(*case.leaves(), case.gt_instances, case.img_metas)).backward()


def _floor(case: BenchmarkCase, limits: MachineLimits) -> float:
    """Lower bound on the seconds of losses and backward.

    It is GFL's: the teacher's logits are needed at the positives only. Class logits are read, both gradients are
    written; each class logit needs an exponential and a logarithm.
    """
    logits, distributions = (sum(level.nbytes for level in maps) for maps in (case.cls_scores, case.bbox_preds))
    return limits.floor(2 * logits + distributions, 2 * sum(level.numel() for level in case.cls_scores))
