"""Figures of a report from examined images: ranking, scores, sides, shown detections, comparison."""

from __future__ import annotations

from dataclasses import replace

import gfl_plugin  # noqa: F401  # isort: skip  (must precede mmdet without compiled ops)
import numpy as np
import pytest
from made_examinations import CLASSES, NOTHING, boxes, examination, image, random_images

from gfl_plugin.analysis.report.coco_metrics import METRICS, coco_metrics
from gfl_plugin.analysis.report.comparison import compare, same_images
from gfl_plugin.analysis.report.error_kinds import image_errors
from gfl_plugin.analysis.report.examined_image import ExaminedImage
from gfl_plugin.analysis.report.model_report import model_report
from gfl_plugin.analysis.report.perfect_ranking import perfect_ranking
from gfl_plugin.analysis.report.report_content import CORRECT, SIDES
from gfl_plugin.analysis.report.score_quality import score_quality
from gfl_plugin.analysis.report.shown_detections import judged_images, score_threshold, shown_counts
from gfl_plugin.analysis.report.side_quality import cross_calibrated_margins, matched_sides, side_quality
from gfl_plugin.metrics.localization_quality_metric import LocalizationQualityMetric
from gfl_plugin.metrics.score_ranking import spearman

LEFT, RIGHT = [0, 0, 100, 100], [150, 0, 250, 100]
OBJECTS = boxes([LEFT, RIGHT], [0, 1])


def errors_of(images: tuple[ExaminedImage, ...]) -> list:
    return [image_errors(one) for one in images]


# --- ranking ---------------------------------------------------------------------------------------------------------


def test_ranking_by_true_iou_repairs_a_wrong_order_and_nothing_else() -> None:
    """Two boxes of which the one of nothing had the higher score; the other is exact."""
    scene = image(boxes([LEFT], [0]), boxes([RIGHT, LEFT], [0, 0]), [0.9, 0.1])
    before = coco_metrics([scene], CLASSES).metrics
    after = perfect_ranking([scene], errors_of((scene,)), CLASSES)
    assert (before["AP"], after["AP"]) == (pytest.approx(50), pytest.approx(100))
    assert {name: after[name] for name in ("AR100", "ARl")} == {name: before[name] for name in ("AR100", "ARl")}
    assert np.isnan(after["APs"]) and np.isnan(before["APs"]) and list(after) == list(METRICS)


def test_detections_that_are_ranked_by_true_iou_gain_nothing() -> None:
    images = []
    for one in random_images(0):
        order = np.argsort(-image_errors(one).own_iou, kind="stable")
        found = replace(one.detections, boxes=one.detections.boxes[order], labels=one.detections.labels[order])
        moved = replace(one, detections=found)
        images.append(replace(moved, scores=image_errors(moved).own_iou))
    expected = coco_metrics(images, CLASSES).metrics
    assert perfect_ranking(images, errors_of(images), CLASSES) == pytest.approx(expected, nan_ok=True)


def test_a_class_without_objects_has_no_ap() -> None:
    values = coco_metrics([image(OBJECTS, boxes([LEFT, LEFT], [0, 2]), [0.5, 0.4])], CLASSES)
    assert values.per_class["a"] == pytest.approx(100) and values.per_class["b"] == 0
    assert np.isnan(values.per_class["c"]) and values.metrics["AP"] == pytest.approx(50)


# --- scores ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("crowds", [False, True])
def test_calibration_errors_are_those_of_the_metric_of_validation(crowds: bool) -> None:
    images = random_images(1, crowds=crowds)
    metric = LocalizationQualityMetric()
    for one in images:
        result = metric._result(one.detections, one.scores, one.objects, one.ignored)
        metric.results.append(result)
    expected, quality = metric.compute_metrics(metric.results), score_quality(images, errors_of(images))
    assert (quality.la_ece, quality.d_ece) == (expected["LaECE_0"], expected["D-ECE"])


def test_scores_are_compared_with_the_best_object_of_their_class() -> None:
    """Of all detections outside ignored regions; a second box of an object counts with its IoU."""
    found = boxes([LEFT, [0, 0, 60, 100], LEFT, [260, 200, 300, 300], [10, 210, 60, 260]], [0, 0, 1, 0, 2])
    scene = image(OBJECTS, found, [0.92, 0.81, 0.7, 0.6, 0.5], boxes([[0, 200, 100, 300]], [2]))
    quality = score_quality([scene], errors_of((scene,)))
    assert quality.scores.tolist() == [0.92, 0.81, 0.7, 0.6]
    assert quality.iou.tolist() == pytest.approx([1, 0.6, 0, 0])
    assert quality.background_share == 0.25  # the third is one of the other class, not of background
    assert quality.spearman == pytest.approx(1)  # of the first two
    assert quality.spearman_all == pytest.approx(spearman(quality.scores, quality.iou))
    assert quality.curve == (
        (pytest.approx(0.6), 0, 0, 1),
        (pytest.approx(0.7), 0, 0, 1),
        (pytest.approx(0.81), pytest.approx(0.6), 0, 1),
        (pytest.approx(0.92), 1, 1, 1),
    )
    assert score_quality([image(OBJECTS, NOTHING, [])], errors_of((image(OBJECTS, NOTHING, []),))) is None


# --- sides -----------------------------------------------------------------------------------------------------------


def test_figures_of_sides_are_those_of_their_matches() -> None:
    images = random_images(2, count=120, sides=True)
    sides = matched_sides(images, errors_of(images))
    quality = side_quality(sides, CLASSES, 0.8)
    area = (sides.predicted[:, 2:] - sides.predicted[:, :2]).prod(axis=1)
    masks = {"all": area >= 0, "small": area < 1024, "medium": (area >= 1024) & (area < 9216), "large": area >= 9216}
    margins = cross_calibrated_margins(sides, CLASSES, 0.8)
    assert [(one.group, one.side) for one in quality.figures] == [
        (group, side) for group in masks for side in ("all", *SIDES) if masks[group].any()
    ]
    for one in quality.figures:
        columns = slice(None) if one.side == "all" else [SIDES.index(one.side)]
        std, errors, margin = (values[masks[one.group]][:, columns] for values in (sides.std, sides.errors, margins))
        assert one.matches == masks[one.group].sum() and one.mean_std == pytest.approx(std.mean())
        assert one.rms_error == pytest.approx(np.sqrt((errors**2).mean()))
        assert one.mean_margin == pytest.approx(margin.mean())
        assert one.coverage == pytest.approx((np.abs(errors) <= margin).mean())
        if one.matches >= 30:
            assert one.spearman == pytest.approx(spearman(std.ravel(), np.abs(errors).ravel()))
        else:
            assert np.isnan(one.spearman)
    assert 0.7 < quality.figures[0].coverage < 0.9
    for row, match in enumerate(sides.errors[:20]):
        outward = (sides.true[row] - sides.predicted[row]) * [-1, -1, 1, 1]
        np.testing.assert_allclose(match, outward)


def test_margins_of_an_image_do_not_depend_on_its_own_matches() -> None:
    """But on those of most other images."""
    images = random_images(3, count=80, sides=True)
    sides = matched_sides(images, errors_of(images))
    before = cross_calibrated_margins(sides, CLASSES, 0.8)
    own = sides.image == np.unique(sides.image)[7]
    wild = replace(sides, true=np.where(own[:, None], sides.true + 40, sides.true))
    after = cross_calibrated_margins(wild, CLASSES, 0.8)
    np.testing.assert_array_equal(after[own], before[own])
    changed = {*sides.image[(after != before).any(axis=1)]}
    assert 0.6 * len({*sides.image}) < len(changed) < 0.85 * len({*sides.image})


def test_too_few_images_for_the_level_leave_coverage_open_and_say_so() -> None:
    images = random_images(4, count=8, sides=True)
    report = model_report(examination(images), 0.9)
    assert all(np.isnan(one.coverage) and np.isnan(one.mean_margin) for one in report.sides.figures)
    assert report.sides.figures[0].rms_error > 0
    (sentence,) = report.missing
    assert sentence.startswith("There are too few images with found objects for coverage and margins at a level of 0.9")


# --- shown detections ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_the_threshold_has_the_best_f1_of_all(seed: int) -> None:
    images = random_images(seed)
    errors = errors_of(images)
    scores = np.concatenate([one.scores for one in images])
    true = np.concatenate([own.kinds == CORRECT for own in errors])
    objects = sum(len(one.objects.labels) for one in images)

    def f1(threshold: float) -> float:
        shown = scores >= threshold
        return 2 * true[shown].sum() / (shown.sum() + objects)

    chosen = score_threshold(images, errors)
    assert f1(chosen) == max(map(f1, scores))


def test_equal_scores_are_not_divided() -> None:
    """With the first of three equal ones, F1 would be best."""
    scene = image(boxes([LEFT], [0]), boxes([LEFT, RIGHT, RIGHT, RIGHT], [0] * 4), [0.5, 0.5, 0.5, 0.4])
    assert score_threshold([scene], errors_of((scene,))) == 0.5


def test_without_found_objects_as_many_detections_as_objects_are_shown() -> None:
    scene = image(OBJECTS, boxes([[260, 200, 300, 300]] * 3, [0] * 3), [0.3, 0.2, 0.1])
    assert score_threshold([scene], errors_of((scene,))) == 0.2
    unlabelled = replace(scene, objects=NOTHING)
    assert score_threshold([unlabelled], errors_of((unlabelled,))) == 0.3
    empty = replace(scene, detections=NOTHING, scores=np.zeros(0))
    assert score_threshold([empty], errors_of((empty,))) == 0


def test_shown_detections_have_their_kinds_and_objects_may_be_missed_at_the_threshold_only() -> None:
    scene = image(OBJECTS, boxes([LEFT, [0, 0, 70, 100], RIGHT], [0, 0, 1]), [0.9, 0.8, 0.1])
    (judged,) = judged_images([scene], errors_of((scene,)), 0.5)
    assert [(one.detection, one.kind, one.object) for one in judged.detections] == [
        (0, CORRECT, 0),
        (1, "duplicate", 0),
    ]
    assert judged.missed == (1,)
    assert shown_counts([judged]) == {CORRECT: 1, "duplicate": 1, "missed": 1}
    (everything,) = judged_images([scene], errors_of((scene,)), 0.0)
    assert len(everything.detections) == 3 and everything.missed == ()


# --- comparison ------------------------------------------------------------------------------------------------------


def test_a_comparison_lists_the_objects_that_exactly_one_model_finds() -> None:
    three = boxes([LEFT, RIGHT, [0, 150, 100, 250]], [0, 1, 2])
    scenes = {
        "one": image(three, boxes([LEFT, RIGHT], [0, 1]), [0.9, 0.8]),
        "other": image(three, boxes([LEFT, [0, 150, 100, 250], RIGHT], [0, 2, 0]), [0.9, 0.8, 0.7]),
    }
    full = image(three, three, [0.9] * 3, number=1)
    examinations = [examination((scene, full), name) for name, scene in scenes.items()]
    one, other = (model_report(own, 0.9) for own in examinations)
    found = compare(one, other, examinations[0])
    assert found.found == {"both": 4, "one": 1, "other": 1, "none": 0} and found.models == ("one", "other")
    assert [(own.image, own.object, own.found_by) for own in found.differences] == [(0, 1, "one"), (0, 2, "other")]


def test_models_are_compared_on_the_same_images_with_the_same_labels_only() -> None:
    images = random_images(5, count=4)
    assert same_images(examination(images), examination(random_images(5, count=4), "other"))
    assert not same_images(examination(images), examination(images[:3]))
    assert not same_images(examination(images), replace(examination(images), classes=("a", "c", "b")))
    moved = replace(images[0], objects=boxes([LEFT], [0]))
    assert not same_images(examination(images), examination((moved, *images[1:])))
    assert not same_images(examination(images), examination((replace(images[0], path="x"), *images[1:])))


# --- whole reports ---------------------------------------------------------------------------------------------------


def test_counts_of_shown_errors_are_those_of_the_gallery() -> None:
    report = model_report(examination(random_images(6)), 0.9)
    counts = shown_counts(report.judged)
    assert {cost.kind: cost.shown for cost in report.accuracy.errors} == {
        cost.kind: counts[cost.kind] for cost in report.accuracy.errors
    }
    assert 0 < sum(cost.shown for cost in report.accuracy.errors) < sum(cost.count for cost in report.accuracy.errors)


@pytest.mark.parametrize(
    ("scene", "sentence"),
    [
        (image(NOTHING, boxes([LEFT], [0]), [0.5]), "The images have no labelled objects, so that AP"),
        (image(OBJECTS, boxes([LEFT], [0]), [0.5]), "Classes without an object in these images have no AP: c."),
        (image(OBJECTS, NOTHING, []), "The model has no detection above test_cfg.score_thr"),
        (image(NOTHING, NOTHING, []), "The model has no detection above test_cfg.score_thr"),
    ],
)
def test_what_the_data_or_the_model_lack_is_said(scene: ExaminedImage, sentence: str) -> None:
    report = model_report(examination((scene,)), 0.9)
    assert any(one.startswith(sentence) for one in report.missing)
    assert (report.scores is None) == (not len(scene.scores))
    assert np.isnan(report.accuracy.metrics["AP"]) == (not len(scene.objects.labels))
