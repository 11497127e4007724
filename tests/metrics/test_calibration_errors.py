"""Calibration errors equal their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics import plain_reference
from metrics.scenes import random_samples

from gfl_plugin import LocalizationQualityMetric
from gfl_plugin.metrics.calibration_errors import (
    binned_error,
    detection_ece,
    localization_aware_ace,
    localization_aware_ece,
)
from gfl_plugin.metrics.matched_detections import MatchedDetections


def detections(scores: list[float], iou: list[float], labels: list[int] | None = None) -> MatchedDetections:
    labels = [0] * len(scores) if labels is None else labels
    return MatchedDetections(np.array(scores, float), np.array(labels, int), np.array(iou, float), np.zeros(0, int))


def test_a_worked_example() -> None:
    """Four detections of one class in two of ten bins, and one false positive of another class."""
    given_ = detections([0.81, 0.85, 0.89, 0.32, 0.5], [0.9, 0.0, 0.6, 0.4, 0.0], [0, 0, 0, 0, 1])
    first = 3 / 4 * abs(0.85 - 2 / 3 * 0.75) + 1 / 4 * abs(0.32 - 0.4)
    assert localization_aware_ece(given_, bins=10) == pytest.approx((first + 0.5) / 2)
    assert localization_aware_ace(given_) == pytest.approx(((0.09 + 0.85 + 0.29 + 0.08) / 4 + 0.5) / 2)
    assert detection_ece(given_, bins=10) == pytest.approx(3 / 5 * (0.85 - 2 / 3) + 1 / 5 * 0.68 + 1 / 5 * 0.5)


def test_calibrated_scores_have_no_error() -> None:
    """Scores that equal the IoU; scores that equal the precision; scores that equal the mean IoU of their bin."""
    random = np.random.default_rng(0)
    iou = random.random(500)
    labels = random.integers(0, 3, 500).tolist()
    assert localization_aware_ace(detections(iou, iou, labels)) == 0
    assert localization_aware_ece(detections(iou, iou, labels)) == 0
    three_of_four = detections([0.75] * 4, [0.9, 0.6, 0.0, 0.7])
    assert detection_ece(three_of_four) == 0
    assert localization_aware_ece(detections([0.55] * 4, [0.9, 0.6, 0.0, 0.7])) == pytest.approx(0, abs=1e-16)


def test_false_positives_count_in_the_average_over_single_detections() -> None:
    """Nine background detections of score 0.9 are an error of 0.9 each."""
    assert localization_aware_ace(detections([0.9] * 10, [0.9] + [0.0] * 9)) == pytest.approx(0.9 * 9 / 10)


@pytest.mark.parametrize("score", [0.0, 0.04, 0.5, 1.0, -0.1, 1.2])
def test_bins_contain_their_lower_bound(score: float) -> None:
    """A score at a bound is in the bin above, 1 in the last one, and scores outside of [0, 1] in the nearest one."""
    neighbour = min(max(score, 0.0), 0.999) + 1e-4
    same_bin = binned_error(np.array([score, neighbour]), np.array([1.0, 0.0]), 25)
    assert same_bin == pytest.approx(abs(score + neighbour - 1) / 2)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**31), levels=st.sampled_from([0, 5]), bins=st.sampled_from([1, 10, 25]))
def test_equal_to_the_definitions(seed: int, levels: int, bins: int) -> None:
    samples = random_samples(seed, levels=levels)
    metric = LocalizationQualityMetric(bins=bins)
    metric.process(None, samples)
    values = metric.compute_metrics(metric.results)
    matched, overlapping = (plain_reference.true_and_false(samples, iou_thr) for iou_thr in (0.5, 0.0))
    expected = {
        "LaECE": plain_reference.laece(matched, bins),
        "LaECE_0": plain_reference.laece(overlapping, bins),
        "LaACE_0": plain_reference.laace(overlapping),
        "D-ECE": plain_reference.dece(matched, bins),
    }
    assert {name: values[name] for name in expected} == pytest.approx(expected, abs=1e-12, nan_ok=True)
    if not math.isnan(values["LaECE_0"]):
        assert values["LaECE_0"] <= values["LaACE_0"] + 1e-12, "the mean of differences exceeds that of absolute ones"


def test_without_detections() -> None:
    nothing = MatchedDetections.concatenate([])
    errors = (detection_ece(nothing), localization_aware_ece(nothing), localization_aware_ace(nothing))
    assert all(map(math.isnan, errors))
