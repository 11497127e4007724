"""Detectors and their wrappers, one per file, where MMDetection's own are not enough."""

from .det_tta_model import DetTTAModel
from .knowledge_distillation_single_stage_detector import KnowledgeDistillationSingleStageDetector

__all__ = ["DetTTAModel", "KnowledgeDistillationSingleStageDetector"]
