"""One box representation a file."""

from .dirac_bbox_coder import DiracBBoxCoder
from .distance_bbox_coder import DistanceBBoxCoder
from .gaussian_bbox_coder import GaussianBBoxCoder
from .integral_bbox_coder import IntegralBBoxCoder

__all__ = ["DiracBBoxCoder", "DistanceBBoxCoder", "GaussianBBoxCoder", "IntegralBBoxCoder"]
