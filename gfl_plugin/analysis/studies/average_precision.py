"""COCO's average precision of a detection file, computed by pycocotools."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

# Limits of the area of the objects of a metric, in pixels: those of COCO, and a smaller one.
_AREAS = {
    "AP": (0.0, 1e10),
    "APt": (0.0, 8.0**2),
    "APs": (0.0, 32.0**2),
    "APm": (32.0**2, 96.0**2),
    "APl": (96.0**2, 1e10),
}
_WORST = "AP worst"
# The mean over the IoU thresholds 0.5, 0.55, ..., 0.95; the value at each of them; the mean for objects of one size;
# that of the class with the lowest one.
ALL_METRICS = ("AP", *(f"AP{percent}" for percent in range(50, 100, 5)), "APt", "APs", "APm", "APl", _WORST)
PAPER_METRICS = ("AP", "AP50", "AP60", "AP70", "AP80", "AP90")  # the columns of the GFL paper's tables


def average_precisions(truth: Path, detections: Path, metrics: Sequence[str] = PAPER_METRICS) -> dict[str, float]:
    """Compute average precision in percent, with at most 100 detections per image.

    Args:
        truth: annotations in COCO's format.
        detections: results in COCO's format; the file may be missing.
        metrics: names from ``ALL_METRICS``. APt (tiny), APs, APm and APl count objects of one size only; "AP worst" is
            the lowest AP of a class.

    Returns:
        The value of each metric; 0 if there are no detections. A metric without an object of its size is left out.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    found = json.loads(detections.read_text()) if detections.exists() else []
    annotations = COCO(str(truth))
    # loadRes raises for an empty list; an index without annotations is the same.
    evaluation = COCOeval(annotations, annotations.loadRes(found) if found else COCO(), "bbox")
    sizes = sorted({_size(name) for name in metrics})
    evaluation.params.areaRng = [list(_AREAS[size]) for size in sizes]
    evaluation.params.areaRngLbl = sizes
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"][..., -1]  # (IoU, recall, class, size): 100 detections
    thresholds = evaluation.params.iouThrs
    values = {}
    for name in metrics:
        valued = precision[_thresholds(name, thresholds), ..., sizes.index(_size(name))]
        parts = np.moveaxis(valued, -1, 0) if name == _WORST else [valued]  # of the classes
        means = [part[part > -1].mean() for part in parts if (part > -1).any()]  # -1 for classes without objects
        if means:
            values[name] = 100 * float(min(means))
    return values


def _size(metric: str) -> str:
    return metric if metric in _AREAS else "AP"


def _thresholds(metric: str, thresholds: np.ndarray) -> np.ndarray:
    """Mask (T,) of the IoU thresholds over which a metric averages."""
    if metric in _AREAS or metric == _WORST:
        return np.ones(len(thresholds), bool)
    return np.isclose(thresholds, int(metric.removeprefix("AP")) / 100)
