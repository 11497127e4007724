"""MMDetection's GFLHead and the plugin's on the same tensors: equal first, then timed in turn."""

from .case import BenchmarkCase, build_heads
from .checks import Disagreement, agreement
from .floor import Machine
from .measures import Row, Settings, measure, row_names, saved_bytes
from .sweep import Sweep, plot, sweep

__all__ = [
    "BenchmarkCase",
    "Disagreement",
    "Machine",
    "Row",
    "Settings",
    "Sweep",
    "agreement",
    "build_heads",
    "measure",
    "plot",
    "row_names",
    "saved_bytes",
    "sweep",
]
