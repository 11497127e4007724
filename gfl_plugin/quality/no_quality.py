"""No quality: a score says what an object is, and nothing of how well its box fits."""

from __future__ import annotations

from ..registry import MODELS
from .base import QualityRepresentation


@MODELS.register_module()
class NoQuality(QualityRepresentation):
    """The class score alone, trained with a focal loss; every positive's box counts alike."""
