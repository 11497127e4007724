"""A metric of MMEngine's evaluator: calibration of scores and quality of boxes, in every validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric

from ..registry import METRICS
from .calibration_errors import detection_ece, localization_aware_ace, localization_aware_ece
from .image_boxes import as_array, boxes_of, ground_truth
from .lrp import lrp, optimal_lrp
from .matched_detections import MatchedDetections
from .matching import Boxes, match_image, rank_in_class
from .score_ranking import pearson, spearman


@dataclass(frozen=True)
class ImageResult:
    """One image, matched at two thresholds."""

    matched: MatchedDetections  # at the metric's iou_thr
    overlapping: MatchedDetections  # at 0: any overlap
    non_finite: int  # detections left out because their score or box is not finite


@METRICS.register_module()
class LocalizationQualityMetric(BaseMetric):
    """Calibration of scores and quality of boxes. It is used beside the metric that computes AP::

        val_evaluator = [dict(type="CocoMetric", ...), dict(type="gfl_plugin.LocalizationQualityMetric")]

    Values, as fractions; each function states its formula and source:

    * ``LaECE``, ``LaECE_0``: localization-aware calibration error of true positives from ``iou_thr``, and from 0
      (:func:`localization_aware_ece`); ``LaACE_0``: the same with one detection per bin
      (:func:`localization_aware_ace`); ``D-ECE``: score against precision (:func:`detection_ece`);
    * ``LRP``, ``LRP_loc``, ``LRP_FP``, ``LRP_FN`` (:func:`lrp`), and ``oLRP``, ``oLRP_loc``, ``oLRP_FP``, ``oLRP_FN``
      at the best score threshold of each class, whose mean is ``oLRP_score`` (:func:`optimal_lrp`);
    * ``Pearson``, ``Spearman``: correlation of score and IoU over true positives from ``iou_thr``; ``Pearson_all``,
      ``Spearman_all``: over all detections, matched from 0, with an IoU of 0 for false positives;
    * ``non_finite``: detections with a score or box that is not finite. They are left out of all other values.

    Matching is COCO's: per image and class, in the order of falling scores (:func:`match_greedily`). Ignored objects
    (crowds, difficult objects of VOC) count as crowds in COCO's sense, as in MMDetection's CocoMetric without
    ``ann_file``. A value that is not defined, for example without detections, is NaN.

    The ground truth is read from ``instances`` if they are in the ``meta_keys`` of ``PackDetInputs``, else from
    ``gt_instances``. The latter must be in pixels of the original image, as in all test pipelines of MMDetection:
    ``LoadAnnotations`` comes after ``Resize``. No annotation file is needed.

    Args:
        iou_thr: minimum IoU of a true positive, in (0, 1).
        bins: number of equal bins of scores in [0, 1], for LaECE (per class) and D-ECE.
        score_thr: detections with lower scores are left out, in [0, 1). The authors of LaECE_0 evaluate detectors at
            the threshold that they are used with; 0 evaluates all detections that the model gives.
        max_dets: number of detections per image and class that are evaluated, those of highest scores, as in COCO.
        collect_device: see ``BaseMetric``.
        prefix: see ``BaseMetric``; before the names, as in ``quality/LaECE``.
        collect_dir: see ``BaseMetric``.

    Raises:
        ValueError: if a setting is out of its range.
    """

    default_prefix = "quality"

    def __init__(
        self,
        iou_thr: float = 0.5,
        bins: int = 25,
        score_thr: float = 0.0,
        max_dets: int = 100,
        collect_device: str = "cpu",
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        for name, value, valid, expected in (
            ("iou_thr", iou_thr, 0 < iou_thr < 1, "a number between 0 and 1, such as 0.5"),
            ("bins", bins, isinstance(bins, int) and bins >= 1, "an integer >= 1, such as 25"),
            ("score_thr", score_thr, 0 <= score_thr < 1, "a number in [0, 1), such as 0 or 0.3"),
            ("max_dets", max_dets, isinstance(max_dets, int) and max_dets >= 1, "an integer >= 1, such as 100"),
        ):
            if not valid:
                raise ValueError(f"LocalizationQualityMetric: {name} is {value!r}; it must be {expected}")
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        self.iou_thr, self.bins, self.score_thr, self.max_dets = iou_thr, bins, score_thr, max_dets

    def process(self, data_batch: Any, data_samples: Sequence[Mapping]) -> None:
        """Match the detections of a batch of images.

        Args:
            data_batch: not used.
            data_samples: one dict per image with ``pred_instances`` and ground truth, as MMEngine's evaluator passes
                them.

        Raises:
            ValueError: if there is no ground truth.
        """
        for sample in data_samples:
            predicted = sample["pred_instances"]
            detections, scores = boxes_of(predicted), as_array(predicted["scores"], np.float64)
            self.results.append(self._result(detections, scores, *ground_truth(sample)))

    def _result(self, detections: Boxes, scores: np.ndarray, objects: Boxes, crowds: Boxes) -> ImageResult:
        finite = np.isfinite(scores) & np.isfinite(detections.boxes).all(axis=1)
        rows = np.flatnonzero(finite & (scores >= self.score_thr))
        rows = rows[np.argsort(-scores[rows], kind="stable")]
        rows = rows[rank_in_class(detections.labels[rows]) < self.max_dets]
        kept, scores = Boxes(detections.boxes[rows], detections.labels[rows]), scores[rows]
        results = []
        for iou_thr in (self.iou_thr, 0.0):
            matches = match_image(kept, objects, crowds, iou_thr)
            used = ~matches.ignored
            results.append(MatchedDetections(scores[used], kept.labels[used], matches.iou[used], objects.labels))
        return ImageResult(*results, non_finite=int((~finite).sum()))

    def compute_metrics(self, results: list[ImageResult]) -> dict[str, float]:
        """Compute all values over the whole set.

        Args:
            results: of all images, in any order.

        Returns:
            The values by name, without the prefix.
        """
        matched = MatchedDetections.concatenate([one.matched for one in results])
        overlapping = MatchedDetections.concatenate([one.overlapping for one in results])
        found = matched.iou > 0
        values = {
            "LaECE": localization_aware_ece(matched, self.bins),
            "LaECE_0": localization_aware_ece(overlapping, self.bins),
            "LaACE_0": localization_aware_ace(overlapping),
            "D-ECE": detection_ece(matched, self.bins),
        }
        for name, error in (("LRP", lrp(matched, self.iou_thr)), ("oLRP", optimal_lrp(matched, self.iou_thr))):
            values[name], values[f"{name}_loc"] = error.error, error.localization
            values[f"{name}_FP"], values[f"{name}_FN"] = error.false_positive, error.false_negative
        return {
            **values,
            "oLRP_score": error.score,
            "Pearson": pearson(matched.scores[found], matched.iou[found]),
            "Spearman": spearman(matched.scores[found], matched.iou[found]),
            "Pearson_all": pearson(overlapping.scores, overlapping.iou),
            "Spearman_all": spearman(overlapping.scores, overlapping.iou),
            "non_finite": float(sum(one.non_finite for one in results)),
        }
