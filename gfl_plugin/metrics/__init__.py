"""Metrics of calibration and localization quality, computed in every validation."""

from .localization_quality_metric import LocalizationQualityMetric

__all__ = ["LocalizationQualityMetric"]
