"""Box coders, one per file."""

from .base import DistanceBBoxCoder
from .dirac_bbox_coder import DiracBBoxCoder
from .gaussian_bbox_coder import GaussianBBoxCoder
from .integral_bbox_coder import IntegralBBoxCoder

__all__ = ["DiracBBoxCoder", "DistanceBBoxCoder", "GaussianBBoxCoder", "IntegralBBoxCoder"]
