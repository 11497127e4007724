"""Losses, one per file: a pure function and the registered module around it."""

from .distribution_focal_loss import DistributionFocalLoss, distribution_focal_loss
from .gaussian_nll_loss import GaussianNLLLoss, gaussian_nll_loss
from .giou_loss import GIoULoss, giou_loss
from .localization_distillation_loss import LocalizationDistillationLoss, localization_distillation_loss
from .quality_focal_loss import QualityFocalLoss, quality_focal_loss, sparse_quality_focal_loss

__all__ = [
    "DistributionFocalLoss",
    "GIoULoss",
    "GaussianNLLLoss",
    "LocalizationDistillationLoss",
    "QualityFocalLoss",
    "distribution_focal_loss",
    "gaussian_nll_loss",
    "giou_loss",
    "localization_distillation_loss",
    "quality_focal_loss",
    "sparse_quality_focal_loss",
]
