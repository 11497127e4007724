"""The plugin's registries: children of MMDetection's, under the scope ``gfl_plugin``.

A config names a class as ``gfl_plugin.GFLHead``. MMDetection's and MMEngine's registries both resolve that name, and
none of their own names is overwritten.
"""

from mmdet import registry as mmdet_registry
from mmengine.registry import STRATEGIES as ROOT_STRATEGIES
from mmengine.registry import Registry

SCOPE = "gfl_plugin"

MODELS = Registry("model", parent=mmdet_registry.MODELS, scope=SCOPE, locations=["gfl_plugin"])
TASK_UTILS = Registry("task util", parent=mmdet_registry.TASK_UTILS, scope=SCOPE, locations=["gfl_plugin"])
METRICS = Registry("metric", parent=mmdet_registry.METRICS, scope=SCOPE, locations=["gfl_plugin"])
HOOKS = Registry("hook", parent=mmdet_registry.HOOKS, scope=SCOPE, locations=["gfl_plugin"])
# Imported when a config first names one of these classes, because not every build of PyTorch has FSDP.
MODEL_WRAPPERS = Registry(
    "model wrapper", parent=mmdet_registry.MODEL_WRAPPERS, scope=SCOPE, locations=["gfl_plugin.runtime.sharding"]
)
STRATEGIES = Registry("strategy", parent=ROOT_STRATEGIES, scope=SCOPE, locations=["gfl_plugin.runtime.sharding"])

# MMEngine looks for a scope among the children of a registry. As grandchildren of MMEngine's registries, these would be
# found only while the default scope is MMDetection's.
for _registry in (MODELS, TASK_UTILS, METRICS, HOOKS, MODEL_WRAPPERS):
    _registry.root._add_child(_registry)
