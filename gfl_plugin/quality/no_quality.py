"""No quality: the score is the class score and does not depend on how well the box fits."""

from __future__ import annotations

from ..registry import MODELS
from .base import QualityRepresentation


@MODELS.register_module()
class NoQuality(QualityRepresentation):
    """The class score alone, trained with a focal loss; all positives have weight 1 in the box losses."""
