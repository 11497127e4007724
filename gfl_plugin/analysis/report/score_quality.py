"""How the scores of detections relate to the true quality of their boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...metrics.calibration_errors import detection_ece, localization_aware_ece
from ...metrics.matched_detections import MatchedDetections
from ...metrics.matching import match_image
from ...metrics.score_ranking import spearman
from .error_kinds import FOREGROUND, ImageErrors
from .examined_image import ExaminedImage
from .report_content import CORRECT, IGNORED, ScoreQuality

_BINS = 20  # of the curve, between scores 0 and 1
HIGH_SCORE = 0.5  # from which a detection of background counts in ``background_share``


def score_quality(images: Sequence[ExaminedImage], errors: Sequence[ImageErrors]) -> ScoreQuality | None:
    """Compare scores with IoUs. Detections in ignored regions are left out.

    Args:
        images: the images.
        errors: what their detections are.

    Returns:
        The values; None without detections.
    """
    rows = [own.kinds != IGNORED for own in errors]
    if not sum(map(np.count_nonzero, rows)):
        return None
    scores = np.concatenate([image.scores[used] for image, used in zip(images, rows)])
    iou = np.concatenate([own.own_iou[used] for own, used in zip(errors, rows)])
    kinds = np.concatenate([own.kinds[used] for own, used in zip(errors, rows)])
    near, high = iou >= FOREGROUND, scores >= HIGH_SCORE
    return ScoreQuality(
        scores=scores,
        iou=iou,
        curve=_curve(scores, iou, kinds == CORRECT),
        spearman=spearman(scores[near], iou[near]),
        spearman_all=spearman(scores, iou),
        la_ece=localization_aware_ece(_overlapping(images)),
        d_ece=detection_ece(_matched(images, errors)),
        background_share=float((kinds[high] == "background").mean()) if high.any() else float("nan"),
    )


def _curve(scores: np.ndarray, iou: np.ndarray, true: np.ndarray) -> tuple[tuple[float, float, float, int], ...]:
    """Of each bin of scores with detections: mean score, mean IoU, precision, number of detections."""
    index = np.clip((scores * _BINS).astype(np.int64), 0, _BINS - 1)
    counts = np.bincount(index, minlength=_BINS)
    used = counts > 0
    sums = [np.bincount(index, values, _BINS)[used] / counts[used] for values in (scores, iou, true)]
    return tuple(zip(*(one.tolist() for one in (*sums, counts[used]))))


def _matched(images: Sequence[ExaminedImage], errors: Sequence[ImageErrors]) -> MatchedDetections:
    """Matched at FOREGROUND."""
    parts = []
    for image, own in zip(images, errors):
        used, iou = own.kinds != IGNORED, np.where(own.kinds == CORRECT, own.iou, 0)
        labels = image.detections.labels[used]
        parts.append(MatchedDetections(image.scores[used], labels, iou[used], image.objects.labels))
    return MatchedDetections.concatenate(parts)


def _overlapping(images: Sequence[ExaminedImage]) -> MatchedDetections:
    """Matched from any overlap."""
    parts = []
    for image in images:
        matches = match_image(image.detections, image.objects, image.ignored, 0.0)
        used = ~matches.ignored
        labels = image.detections.labels[used]
        parts.append(MatchedDetections(image.scores[used], labels, matches.iou[used], image.objects.labels))
    return MatchedDetections.concatenate(parts)
