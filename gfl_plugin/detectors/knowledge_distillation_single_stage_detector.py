"""A single-stage detector that learns from a trained one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from mmdet.models.dense_heads import LDHead as MMDetLDHead
from mmdet.models.detectors import KnowledgeDistillationSingleStageDetector as MMDetDetector

from ..heads import LDHead
from ..registry import MODELS
from .teacher import check_images, check_teacher, load_teacher, teacher_model


@MODELS.register_module()
class KnowledgeDistillationSingleStageDetector(MMDetDetector):
    """MMDetection's detector of the same name, with a teacher that is checked.

    As in MMDetection the teacher is not a submodule: parameters, state dict and checkpoints are the student's, and the
    teacher computes without gradient. What differs: its weights must fit completely, it is in eval mode from the
    start, and it follows every move of the student to another device or dtype.

    Args:
        backbone: config of the student's backbone.
        neck: config of the student's neck.
        bbox_head: config of the student's head, an LDHead.
        teacher_config: config of the teacher with ``model``, or its file; see
            :func:`gfl_plugin.detectors.teacher.teacher_model`.
        teacher_ckpt: file or URL of the teacher's weights; None for a teacher that is not trained.
        eval_teacher: whether the teacher stays in eval mode while the student trains.
        **kwargs: as MMDetection's detector.

    Raises:
        FileNotFoundError: for a config or a checkpoint that does not exist.
        ValueError: for a teacher that does not fit the student, or a checkpoint that does not fit the teacher.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        bbox_head: dict,
        teacher_config: Mapping | str | Path,
        teacher_ckpt: str | Path | None = None,
        eval_teacher: bool = True,
        **kwargs,
    ) -> None:
        super().__init__(
            backbone, neck, bbox_head, {"model": teacher_model(teacher_config)}, None, eval_teacher, **kwargs
        )
        if not isinstance(self.bbox_head, (LDHead, MMDetLDHead)):
            raise ValueError(
                f"bbox_head is a {type(self.bbox_head).__name__}, which does not learn from a teacher; write "
                "bbox_head=dict(type='gfl_plugin.LDHead')"
            )
        check_teacher(self.teacher_model, self.bbox_head)
        check_images(self.teacher_model, self)
        if teacher_ckpt is not None:
            load_teacher(self.teacher_model, teacher_ckpt)
        self.teacher_model.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> KnowledgeDistillationSingleStageDetector:
        """Set training mode; see ``eval_teacher``.

        Args:
            mode: True for training.

        Returns:
            The detector; MMDetection's returns None, so that ``model.eval()`` is None.
        """
        super().train(mode)
        return self

    def to(self, *args, **kwargs) -> KnowledgeDistillationSingleStageDetector:
        """Move or convert student and teacher.

        Args:
            *args: as PyTorch's; MMDetection's detector takes a device only.
            **kwargs: as PyTorch's.

        Returns:
            The detector.
        """
        return super(MMDetDetector, self).to(*args, **kwargs)  # calls _apply, as cpu(), cuda() and half() do

    def _apply(self, change: Callable, *args, **kwargs) -> KnowledgeDistillationSingleStageDetector:
        self.teacher_model._apply(change, *args, **kwargs)
        return super()._apply(change, *args, **kwargs)
