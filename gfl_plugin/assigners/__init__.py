"""Assigners, one per file: they assign objects to locations."""

from .adapted_assigner import AdaptedAssigner, as_batch_assigner
from .atss_assigner import ATSSAssigner
from .atss_assignment import ATSSAssignment
from .base import BatchAssigner, BatchAssignment, Predictions
from .candidates import Candidates
from .fcos_assigner import FCOSAssigner

Assignment = ATSSAssignment  # name up to version 0.1

__all__ = [
    "ATSSAssigner",
    "ATSSAssignment",
    "AdaptedAssigner",
    "Assignment",
    "BatchAssigner",
    "BatchAssignment",
    "Candidates",
    "FCOSAssigner",
    "Predictions",
    "as_batch_assigner",
]
