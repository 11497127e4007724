"""Compares MMDetection's GFLHead with the plugin's on equal tensors; times are measured only if their numbers agree."""

from .case import BenchmarkCase
from .checks import Disagreement, agreement
from .distribution_cost import distribution_cost
from .head_rows import saved_bytes
from .heads import build_heads
from .machine_limits import MachineLimits
from .measures import measure, row_names
from .paired_cost import PairedCost
from .row import Row
from .settings import Settings
from .sweep import SweepPoint, plot, sweep
from .uncertainty_cost import uncertainty_cost

__all__ = [
    "BenchmarkCase",
    "Disagreement",
    "MachineLimits",
    "PairedCost",
    "Row",
    "Settings",
    "SweepPoint",
    "agreement",
    "build_heads",
    "distribution_cost",
    "measure",
    "plot",
    "row_names",
    "saved_bytes",
    "sweep",
    "uncertainty_cost",
]
