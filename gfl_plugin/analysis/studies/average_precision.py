"""COCO's average precision of a detection file, computed by pycocotools."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

# The mean over the IoU thresholds 0.5, 0.55, ..., 0.95, and the value at each of them.
ALL_METRICS = ("AP", *(f"AP{percent}" for percent in range(50, 100, 5)))
PAPER_METRICS = ("AP", "AP50", "AP60", "AP70", "AP80", "AP90")  # the columns of the GFL paper's tables


def average_precisions(truth: Path, detections: Path, metrics: Sequence[str] = PAPER_METRICS) -> dict[str, float]:
    """Compute average precision in percent over all object sizes, with at most 100 detections per image.

    Args:
        truth: annotations in COCO's format.
        detections: results in COCO's format; the file may be missing.
        metrics: names from ``ALL_METRICS``.

    Returns:
        The value of each metric; 0 if there are no detections.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    found = json.loads(detections.read_text()) if detections.exists() else []
    if not found:
        return dict.fromkeys(metrics, 0.0)
    annotations = COCO(str(truth))
    evaluation = COCOeval(annotations, annotations.loadRes(found), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # (IoU, recall, class): all sizes, 100 detections
    return {name: _mean(precision[_thresholds(name, evaluation.params.iouThrs)]) for name in metrics}


def _thresholds(metric: str, thresholds: np.ndarray) -> np.ndarray:
    """Mask (T,) of the IoU thresholds over which a metric averages."""
    if metric == "AP":
        return np.ones(len(thresholds), bool)
    return np.isclose(thresholds, int(metric.removeprefix("AP")) / 100)


def _mean(precision: np.ndarray) -> float:
    """Mean in percent. Entries of -1 belong to classes without objects and are ignored."""
    valid = precision[precision > -1]
    return 100 * float(valid.mean()) if len(valid) else 0.0
