"""Calibration errors: how far scores are from the precision, or from the IoU, of the detections that have them.

A score is calibrated if it is the expected value of a target. The target of D-ECE is 1 for a true positive and 0 for
a false one. The target of LaECE and LaACE is the IoU of a true positive with its object, and 0 for a false one.
"""

from __future__ import annotations

import numpy as np

from .matched_detections import MatchedDetections


def binned_error(scores: np.ndarray, targets: np.ndarray, bins: int) -> float:
    """Compute the expected calibration error of scores in equal bins.

    ``Σ_j |D_j| / |D| · |mean score of D_j − mean target of D_j|``, where D_j are the detections with a score in
    [j/J, (j + 1)/J), J = ``bins``; the last bin includes 1.

    Args:
        scores: (N,) in [0, 1]; others count in the first or the last bin.
        targets: (N,) what the scores are to predict.
        bins: number of bins J.

    Returns:
        The error in [0, 1]; NaN without detections.
    """
    if not len(scores):
        return float("nan")
    index = np.clip(np.floor(scores * bins), 0, bins - 1).astype(np.int64)
    return float(np.abs(np.bincount(index, weights=scores - targets, minlength=bins)).sum() / len(scores))


def detection_ece(detections: MatchedDetections, bins: int = 25) -> float:
    """Compute D-ECE: the gap between score and precision, with the detections of all classes in the same bins.

    ``Σ_j |D_j| / |D| · |mean score of D_j − precision of D_j|``. Source: Küppers et al., "Multivariate Confidence
    Calibration for Object Detection", CVPR Workshops 2020 (arXiv 2004.13546), with the score as its only variable.

    Args:
        detections: matched at the IoU from which a detection is a true positive; usually 0.5.
        bins: number of bins.

    Returns:
        The error in [0, 1]; NaN without detections.
    """
    return binned_error(detections.scores, (detections.iou > 0).astype(np.float64), bins)


def localization_aware_ece(detections: MatchedDetections, bins: int = 25) -> float:
    """Compute LaECE: the gap between score and precision × mean IoU, averaged over classes.

    ``1/K Σ_c Σ_j |D_j^c| / |D^c| · |mean score of D_j^c − precision of D_j^c · mean IoU of its true positives|``.
    The product is the mean IoU of D_j^c with 0 for its false positives. Sources: Oksuz et al., "Towards Building
    Self-Aware Object Detectors via Reliable Uncertainty Quantification and Calibration", CVPR 2023 (arXiv 2307.00934);
    for detections matched at an IoU of 0, this is LaECE_0 of Kuzucu et al., "On Calibration of Object Detectors:
    Pitfalls, Evaluation and Baselines", ECCV 2024 (arXiv 2405.20459).

    Args:
        detections: matched at the IoU from which a detection is a true positive.
        bins: number of bins per class.

    Returns:
        The mean over the classes with detections, in [0, 1]; NaN without detections. A class without objects counts:
        all its detections are false positives.
    """
    return _mean([binned_error(one.scores, one.iou, bins) for one in _detected_classes(detections)])


def localization_aware_ace(detections: MatchedDetections) -> float:
    """Compute LaACE: LaECE with bins so small that each contains one detection.

    ``1/K Σ_c 1/|D^c| Σ_{i ∈ D^c} |score_i − IoU_i|``, over all detections, with an IoU of 0 for false positives. For
    detections matched at an IoU of 0, this is LaACE_0 of Kuzucu et al., ECCV 2024 (arXiv 2405.20459).

    Args:
        detections: matched at the IoU from which a detection is a true positive.

    Returns:
        The mean over the classes with detections, in [0, 1]; NaN without detections.
    """
    return _mean([float(np.abs(one.scores - one.iou).mean()) for one in _detected_classes(detections)])


def _detected_classes(detections: MatchedDetections) -> list[MatchedDetections]:
    return [one for one in detections.by_class().values() if len(one.labels)]


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
