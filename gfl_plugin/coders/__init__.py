"""One box representation a file."""

from .integral_bbox_coder import IntegralBBoxCoder

__all__ = ["IntegralBBoxCoder"]
