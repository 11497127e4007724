"""Registers the plugin's classes under MMDetection's own names, too.

With ``custom_imports = dict(imports=["gfl_plugin.drop_in"])`` a stock config of GFL, LD or ATSS uses them without any
other change. Importing this module replaces MMDetection's registrations in the process.
"""

from mmdet import registry as mmdet_registry

from .assigners import ATSSAssigner
from .detectors import KnowledgeDistillationSingleStageDetector
from .heads import GFLHead, LDHead
from .losses import DistributionFocalLoss, LocalizationDistillationLoss, QualityFocalLoss

for _registry, _name, _class in (
    (mmdet_registry.MODELS, "GFLHead", GFLHead),
    (mmdet_registry.MODELS, "LDHead", LDHead),
    (mmdet_registry.MODELS, "QualityFocalLoss", QualityFocalLoss),
    (mmdet_registry.MODELS, "DistributionFocalLoss", DistributionFocalLoss),
    (mmdet_registry.MODELS, "KnowledgeDistillationKLDivLoss", LocalizationDistillationLoss),
    (mmdet_registry.MODELS, "KnowledgeDistillationSingleStageDetector", KnowledgeDistillationSingleStageDetector),
    (mmdet_registry.TASK_UTILS, "ATSSAssigner", ATSSAssigner),
):
    _registry.register_module(name=_name, module=_class, force=True)
