"""One loss a file: a pure function, and the registered module over it."""

from .distribution_focal_loss import DistributionFocalLoss, distribution_focal_loss
from .giou_loss import GIoULoss, giou_loss
from .quality_focal_loss import QualityFocalLoss, quality_focal_loss, sparse_quality_focal_loss

__all__ = [
    "DistributionFocalLoss",
    "GIoULoss",
    "QualityFocalLoss",
    "distribution_focal_loss",
    "giou_loss",
    "quality_focal_loss",
    "sparse_quality_focal_loss",
]
