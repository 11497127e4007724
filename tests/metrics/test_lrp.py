"""LRP and optimal LRP equal their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics import plain_reference
from metrics.scenes import random_samples

from gfl_plugin import LocalizationQualityMetric
from gfl_plugin.metrics.lrp import lrp, lrp_per_score, optimal_lrp
from gfl_plugin.metrics.matched_detections import MatchedDetections


def one_class(scores: list[float], iou: list[float], objects: int) -> MatchedDetections:
    return MatchedDetections(
        np.array(scores, float), np.zeros(len(scores), int), np.array(iou, float), np.zeros(objects, int)
    )


def test_a_worked_example() -> None:
    """Three objects, of which two are found, and one false positive between them."""
    found = one_class([0.9, 0.7, 0.6], [0.8, 0.0, 0.75], objects=3)
    total = lrp(found, 0.5)
    assert total.error == pytest.approx((0.2 / 0.5 + 0.25 / 0.5 + 1 + 1) / 4)
    assert total.localization == pytest.approx((0.2 + 0.25) / 2)
    assert (total.false_positive, total.false_negative) == pytest.approx((1 / 3, 1 / 3))
    best = optimal_lrp(found, 0.5)
    assert best.error == pytest.approx(2.9 / 4)
    assert best.score == 0.6
    # With a better first box, keeping only that one is best.
    best = optimal_lrp(one_class([0.9, 0.7, 0.6], [1.0, 0.0, 0.55], objects=2), 0.5)
    assert (best.error, best.score) == pytest.approx((1 / 2, 0.9))
    assert (best.localization, best.false_positive, best.false_negative) == (0, 0, 0.5)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**31), levels=st.sampled_from([0, 5]), iou_thr=st.sampled_from([0.1, 0.5, 0.75]))
def test_equal_to_the_definition(seed: int, levels: int, iou_thr: float) -> None:
    """Also the optimum: for each score threshold, the remaining detections are matched anew."""
    samples = random_samples(seed, levels=levels)
    metric = LocalizationQualityMetric(iou_thr=iou_thr)
    metric.process(None, samples)
    values = metric.compute_metrics(metric.results)
    classes = plain_reference.true_and_false(samples, iou_thr)
    thresholds = sorted({score for sample in samples for score in sample["pred_instances"]["scores"].tolist()})
    matched = [(thr, plain_reference.true_and_false(samples, iou_thr, thr)) for thr in thresholds]
    all_of, best_of = [], []
    for label, (pairs, objects) in classes.items():
        if objects:
            all_of.append(plain_reference.lrp(pairs, objects, iou_thr))
            tried = [plain_reference.lrp(*again.get(label, ([], objects)), iou_thr) for _, again in matched]
            best_of.append(min((one[0] for one in tried), default=1.0))
    names = ("LRP", "LRP_loc", "LRP_FP", "LRP_FN")
    for column, name in enumerate(names):
        defined = [one[column] for one in all_of if not math.isnan(one[column])]
        assert values[name] == pytest.approx(plain_reference.mean(defined), abs=1e-12, nan_ok=True)
    assert values["oLRP"] == pytest.approx(plain_reference.mean(best_of), abs=1e-12, nan_ok=True)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**31), iou_thr=st.sampled_from([0.0, 0.5, 0.9]))
def test_the_components_add_up(seed: int, iou_thr: float) -> None:
    """Z · LRP = T · localization / (1 − τ) + N · false_positive + G · false_negative, at every score threshold."""
    random = np.random.default_rng(seed)
    count, objects = random.integers(1, 30), 40
    iou = np.where(random.random(count) < 0.5, random.uniform(max(iou_thr, 0.01), 1, count), 0)
    found = one_class(np.round(random.random(count), 1), iou, objects)
    error, localization, false_positive, false_negative, scores = lrp_per_score(found, iou_thr)
    for row, score in enumerate(scores):
        kept = found.scores >= score
        true = (iou[kept] > 0).sum()
        parts = [
            np.nan_to_num(localization[row]) * true / (1 - iou_thr),
            np.nan_to_num(false_positive[row]) * kept.sum(),
            false_negative[row] * objects,
        ]
        assert error[row] * (kept.sum() + objects - true) == pytest.approx(sum(parts))


def test_classes_without_objects_do_not_count() -> None:
    """As in COCO's AP. A class without detections has the error 1."""
    labels = np.array([0, 1])
    found = MatchedDetections(np.array([0.9, 0.8]), labels, np.array([1.0, 0.0]), np.array([0, 2]))
    total, best = lrp(found, 0.5), optimal_lrp(found, 0.5)
    assert (total.error, best.error) == (0.5, 0.5)  # class 0: 0; class 1 does not count; class 2: 1
    assert (total.localization, total.false_positive, total.false_negative) == (0, 0, 0.5)
    assert best.score == 0.9


def test_without_objects() -> None:
    """Neither error is defined without objects of any class."""
    for found in (MatchedDetections.concatenate([]), one_class([0.5], [0.0], objects=0)):
        for error in (lrp(found), optimal_lrp(found)):
            assert all(map(math.isnan, vars(error).values()))
