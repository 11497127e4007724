"""Importing this puts the plugin's classes under MMDetection's own names as well.

``custom_imports = dict(imports=["gfl_plugin.drop_in"])`` makes a stock GFL or ATSS config use them with no other
change. It overwrites MMDetection's registrations for this process, which is its purpose.
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
