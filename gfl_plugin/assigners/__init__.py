"""One assigner a file: which location learns which object."""

from .adapted_assigner import AdaptedAssigner
from .atss_assigner import Assignment, ATSSAssigner, Candidates
from .base import Predictions
from .fcos_assigner import FCOSAssigner

__all__ = ["ATSSAssigner", "AdaptedAssigner", "Assignment", "Candidates", "FCOSAssigner", "Predictions"]
