"""MMEngine hooks for training, one per file."""

from .assignment_stats_hook import AssignmentStatsHook
from .bad_boxes_hook import BadBoxesHook
from .class_loss_stats_hook import ClassLossStatsHook
from .exact_resume_hook import ExactResumeHook
from .first_steps_hook import FirstStepsHook
from .non_finite_guard_hook import NonFiniteGuardHook
from .side_distribution_hook import SideDistributionHook
from .whole_checkpoint_hook import WholeCheckpointHook

__all__ = [
    "AssignmentStatsHook",
    "BadBoxesHook",
    "ClassLossStatsHook",
    "ExactResumeHook",
    "FirstStepsHook",
    "NonFiniteGuardHook",
    "SideDistributionHook",
    "WholeCheckpointHook",
]
