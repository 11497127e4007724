"""Losses, one per file: a pure function and the registered module around it."""

from .distribution_focal_loss import DistributionFocalLoss, distribution_focal_loss
from .gaussian_nll_loss import GaussianNLLLoss, gaussian_nll_loss
from .giou_loss import GIoULoss, giou_loss
from .localization_distillation_loss import LocalizationDistillationLoss, localization_distillation_loss
from .matchability_aware_loss import MatchabilityAwareLoss, matchability_aware_loss
from .quality_focal_loss import QualityFocalLoss, quality_focal_loss, sparse_quality_focal_loss
from .quality_loss import QualityLoss

__all__ = [
    "DistributionFocalLoss",
    "GIoULoss",
    "GaussianNLLLoss",
    "LocalizationDistillationLoss",
    "MatchabilityAwareLoss",
    "QualityFocalLoss",
    "QualityLoss",
    "distribution_focal_loss",
    "gaussian_nll_loss",
    "giou_loss",
    "localization_distillation_loss",
    "matchability_aware_loss",
    "quality_focal_loss",
    "sparse_quality_focal_loss",
]
