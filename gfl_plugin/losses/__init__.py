"""One loss a file: a pure function, and the registered module over it."""

from .distribution_focal_loss import DistributionFocalLoss, distribution_focal_loss
from .quality_focal_loss import QualityFocalLoss, quality_focal_loss, sparse_quality_focal_loss

__all__ = [
    "DistributionFocalLoss",
    "QualityFocalLoss",
    "distribution_focal_loss",
    "quality_focal_loss",
    "sparse_quality_focal_loss",
]
