"""One quality representation a file: how a head learns and uses the quality of its boxes."""

from ..structures.class_targets import ClassTargets
from .base import Matched, QualityRepresentation
from .guided_quality import GuidedQuality
from .joint_quality import JointQuality
from .no_quality import NoQuality
from .quality_branch import QualityBranch

__all__ = [
    "ClassTargets",
    "GuidedQuality",
    "JointQuality",
    "Matched",
    "NoQuality",
    "QualityBranch",
    "QualityRepresentation",
]
