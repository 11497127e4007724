"""GFLV2's quality logits: statistics of the side distributions, then two layers.

:mod:`inputs` describes the inputs, :mod:`eager` and :mod:`numba_autograd` hold one kernel each, and :mod:`operation`
the function that chooses a kernel.
"""

from .inputs import QualityLayers, Statistics
from .operation import distribution_quality

__all__ = ["QualityLayers", "Statistics", "distribution_quality"]
