"""Suspect labels: which annotations and sides are named, and how often right ones are."""

from __future__ import annotations

from dataclasses import replace

import gfl_plugin  # noqa: F401  # isort: skip  (must precede mmdet without compiled ops)
import numpy as np
import pytest
from analysis.report.simulated_examination import simulated

from gfl_plugin.analysis.report.examined_image import Examination, SideBeliefs
from gfl_plugin.analysis.report.image_folds import FOLDS
from gfl_plugin.analysis.report.label_judgements import judge_labels
from gfl_plugin.analysis.report.report_content import SIDES
from gfl_plugin.analysis.report.suspect_labels import find_suspects
from gfl_plugin.metrics.matching import Boxes, pairwise_overlap


def with_uncertainty_times(examination: Examination, factor: float) -> Examination:
    images = tuple(replace(one, sides=SideBeliefs(one.sides.std * factor)) for one in examination.images)
    return replace(examination, images=images)


@pytest.mark.parametrize("certain", [True, False])
def test_shifted_sides_come_first_and_are_named(certain: bool) -> None:
    examination, shifts = simulated(0, shifted=0.05, certain=certain, noise=0.4)
    first = find_suspects(examination, 0.9)[: len(shifts)]
    assert {(one.image, one.object, one.side) for one in first} == {
        (one.image, one.object, SIDES[one.side]) for one in shifts
    }


def test_numbers_of_a_suspect_follow_from_its_boxes() -> None:
    examination, _ = simulated(1, shifted=0.05)
    suspects = find_suspects(examination, 0.9)
    assert [one.suspicion for one in suspects] == sorted((one.suspicion for one in suspects), reverse=True)
    for one in suspects:
        image, side = examination.images[one.image], SIDES.index(one.side)
        label, detection = image.objects.boxes[one.object], image.detections.boxes[one.detection]
        assert (one.labelled, one.predicted) == (label[side], detection[side])
        assert one.iou == pytest.approx(pairwise_overlap(label[None], detection[None])[0, 0])
        distance = abs(label[side] - detection[side])
        assert one.beyond == pytest.approx(distance - distance / one.suspicion)
        assert one.suspicion > 1


@pytest.mark.parametrize("level", [0.7, 0.9])
def test_margins_contain_right_labels_with_the_probability_of_the_level(level: float) -> None:
    """The correction for K images makes margins wider, by at most the weight of one image and of one match."""
    outside = [(judge_labels(simulated(seed)[0], level).suspicion > 1).any(axis=1).mean() for seed in range(20)]
    noise, images = 4 * np.std(outside) / np.sqrt(len(outside)), 60 * (FOLDS - 1) / FOLDS
    assert 1 - level - 1.5 / (images + 1) - noise < np.mean(outside) < 1 - level + noise


def test_a_few_wrong_labels_hardly_widen_the_margins() -> None:
    right, wrong = (judge_labels(simulated(3, shifted=share)[0], 0.9) for share in (0.0, 0.05))
    clean = [pair for pair in zip(right.margins, wrong.margins, right.labelled == wrong.labelled) if pair[2].all()]
    assert np.median([after / before for before, after, _ in clean]) < 1.3


def test_unit_of_the_uncertainty_does_not_matter() -> None:
    examination, _ = simulated(4, shifted=0.05)
    base, scaled = (judge_labels(with_uncertainty_times(examination, factor), 0.9) for factor in (1, 7))
    np.testing.assert_allclose(base.margins, scaled.margins)


def test_margins_do_not_depend_on_labels_of_the_same_fold() -> None:
    """Moving one label far away changes no margin of other objects of its image, nor its own of that side."""
    examination, _ = simulated(5)
    image = examination.images[0]
    boxes = image.objects.boxes.copy()
    boxes[0, 0] -= 15
    moved = replace(image, objects=Boxes(boxes, image.objects.labels))
    before = judge_labels(examination, 0.9)
    after = judge_labels(replace(examination, images=(moved, *examination.images[1:])), 0.9)
    rows = (before.image == 0) & (before.object != 0)
    np.testing.assert_array_equal(before.margins[rows], after.margins[rows])
    own = (before.image == 0) & (before.object == 0)
    np.testing.assert_allclose(before.margins[own, 0], after.margins[own, 0], rtol=1e-12)
    assert (after.margins[own, 1:] > before.margins[own, 1:]).all()  # a witness that is wrong elsewhere says less


def test_order_of_objects_does_not_matter() -> None:
    examination, _ = simulated(6, shifted=0.1)
    turned = tuple(
        replace(one, objects=Boxes(one.objects.boxes[::-1], one.objects.labels[::-1])) for one in examination.images
    )
    one, other = (find_suspects(each, 0.9) for each in (examination, replace(examination, images=turned)))
    assert [(s.image, s.detection, s.side, s.suspicion) for s in one] == [
        (s.image, s.detection, s.side, s.suspicion) for s in other
    ]


def test_annotations_without_a_detection_of_their_class_are_not_judged() -> None:
    examination, _ = simulated(7)
    images = tuple(
        replace(one, detections=Boxes(one.detections.boxes, 1 - one.detections.labels)) if number % 2 else one
        for number, one in enumerate(examination.images)
    )
    assert set(judge_labels(replace(examination, images=images), 0.8).image % 2) == {0}


@pytest.mark.parametrize("images", [0, 1, 11])
def test_too_few_images_for_the_level_are_an_error(images: int) -> None:
    with pytest.raises(ValueError, match=f"level of 0.9 need .* at least 9 images .* {FOLDS} folds"):
        find_suspects(simulated(8, images=images)[0], 0.9)


def test_12_images_are_enough_for_a_level_of_90_percent() -> None:
    find_suspects(simulated(8, images=12)[0], 0.9)
