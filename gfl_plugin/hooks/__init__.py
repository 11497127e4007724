"""What watches a training run: MMEngine hooks, one a file."""

from .assignment_stats_hook import AssignmentStatsHook

__all__ = ["AssignmentStatsHook"]
