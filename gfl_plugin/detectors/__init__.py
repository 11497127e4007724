"""Detectors, one per file, where MMDetection's own is not enough."""

from .knowledge_distillation_single_stage_detector import KnowledgeDistillationSingleStageDetector

__all__ = ["KnowledgeDistillationSingleStageDetector"]
