"""One assigner a file: which location learns which object."""

from .atss_assigner import Assignment, ATSSAssigner, Candidates

__all__ = ["ATSSAssigner", "Assignment", "Candidates"]
