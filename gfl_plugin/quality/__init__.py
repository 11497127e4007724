"""Quality representations, one per file: how a head learns and uses the quality of its boxes."""

from ..structures.class_targets import ClassTargets
from ..structures.matched import Matched
from .base import QualityRepresentation
from .distribution_guided_quality import DistributionGuidedQuality
from .guided_quality import GuidedQuality
from .joint_quality import JointQuality
from .no_quality import NoQuality
from .quality_branch import QualityBranch

__all__ = [
    "ClassTargets",
    "DistributionGuidedQuality",
    "GuidedQuality",
    "JointQuality",
    "Matched",
    "NoQuality",
    "QualityBranch",
    "QualityRepresentation",
]
