"""Generalized Focal Loss heads for MMDetection.

Name it in a config, and its classes can be named in that config::

    custom_imports = dict(imports=["gfl_plugin"], allow_failed_imports=False)
"""

__version__ = "1.4.0"

import importlib

from .runtime.install_advice import require_runtime

require_runtime()

from .runtime import compat  # noqa: E402

compat.prepare()

from . import assigners, coders, detectors, heads, hooks, losses, metrics, quality, results  # noqa: E402
from .assigners import ATSSAssigner, FCOSAssigner  # noqa: E402
from .coders import DiracBBoxCoder, GaussianBBoxCoder, IntegralBBoxCoder  # noqa: E402
from .detectors import DetTTAModel, KnowledgeDistillationSingleStageDetector  # noqa: E402
from .heads import FCOSQFLHead, FoveaQFLHead, GFLHead, LDHead, RetinaQFLHead, SSDQFLHead  # noqa: E402
from .hooks import (  # noqa: E402
    AssignmentStatsHook,
    BadBoxesHook,
    ClassLossStatsHook,
    ExactResumeHook,
    FirstStepsHook,
    NonFiniteGuardHook,
    SideDistributionHook,
    WholeCheckpointHook,
)
from .losses import (  # noqa: E402
    DistributionFocalLoss,
    GaussianNLLLoss,
    GIoULoss,
    LocalizationDistillationLoss,
    MatchabilityAwareLoss,
    QualityFocalLoss,
)
from .metrics import LocalizationQualityMetric  # noqa: E402
from .projects.swap_head import swap_head  # noqa: E402
from .quality import (  # noqa: E402
    DistributionGuidedQuality,
    GuidedQuality,
    JointQuality,
    NoQuality,
    QualityBranch,
)
from .results import CocoMetric, detections_to_dict, to_supervision  # noqa: E402
from .runtime import checkpoints  # noqa: E402
from .runtime.checkpoints import embedded_config  # noqa: E402
from .runtime.config_files import find_config  # noqa: E402

KnowledgeDistillationKLDivLoss = LocalizationDistillationLoss  # MMDetection's name, which its configs use

__all__ = [
    "ATSSAssigner",
    "AssignmentStatsHook",
    "ClassLossStatsHook",
    "BadBoxesHook",
    "CocoMetric",
    "DetTTAModel",
    "DiracBBoxCoder",
    "DistributionFocalLoss",
    "DistributionGuidedQuality",
    "ExactResumeHook",
    "FCOSAssigner",
    "FCOSQFLHead",
    "FirstStepsHook",
    "FoveaQFLHead",
    "GFLHead",
    "GIoULoss",
    "GaussianBBoxCoder",
    "GaussianNLLLoss",
    "GuidedQuality",
    "IntegralBBoxCoder",
    "JointQuality",
    "KnowledgeDistillationKLDivLoss",
    "KnowledgeDistillationSingleStageDetector",
    "LDHead",
    "LocalizationDistillationLoss",
    "LocalizationQualityMetric",
    "MatchabilityAwareLoss",
    "NoQuality",
    "NonFiniteGuardHook",
    "QualityBranch",
    "QualityFocalLoss",
    "RetinaQFLHead",
    "SSDQFLHead",
    "SideDistributionHook",
    "WholeCheckpointHook",
    "assigners",
    "checkpoints",
    "coders",
    "compat",
    "detections_to_dict",
    "detectors",
    "embedded_config",
    "find_config",
    "heads",
    "hooks",
    "losses",
    "metrics",
    "quality",
    "results",
    "swap_head",
    "to_supervision",
    "__version__",
]

# Imported at first use: PyTorch's FSDP is not in every build, and MMDetection's inferencer imports the visualizers.
_LAZY = {
    "DetInferencer": "gfl_plugin.results.det_inferencer",
    "FSDPStrategy": "gfl_plugin.runtime.sharding",
    "FullyShardedDataParallel": "gfl_plugin.runtime.sharding",
}


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'gfl_plugin' has no attribute {name!r}")
