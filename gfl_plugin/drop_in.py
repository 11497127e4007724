"""Registers the plugin's classes under MMDetection's own names, too.

With ``custom_imports = dict(imports=["gfl_plugin.drop_in"])`` a stock GFL or ATSS config uses them without any other
change. Importing this module replaces MMDetection's registrations in the process.
"""

from mmdet import registry as mmdet_registry

from .assigners import ATSSAssigner
from .heads import GFLHead
from .losses import DistributionFocalLoss, QualityFocalLoss

for _registry, _class in (
    (mmdet_registry.MODELS, GFLHead),
    (mmdet_registry.MODELS, QualityFocalLoss),
    (mmdet_registry.MODELS, DistributionFocalLoss),
    (mmdet_registry.TASK_UTILS, ATSSAssigner),
):
    _registry.register_module(module=_class, force=True)
