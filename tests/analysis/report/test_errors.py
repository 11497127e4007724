"""Kinds and costs of errors: TIDE's definitions, and AP50 of detections that are really repaired."""

from __future__ import annotations

from dataclasses import replace

import gfl_plugin  # noqa: F401  # isort: skip  (must precede mmdet without compiled ops)
import numpy as np
import pytest
from made_examinations import CLASSES, NOTHING, boxes, image, random_images

from gfl_plugin.analysis.report.ap50 import mean_average_precision
from gfl_plugin.analysis.report.coco_metrics import coco_metrics
from gfl_plugin.analysis.report.error_costs import all_errors, error_costs, repaired
from gfl_plugin.analysis.report.error_kinds import ImageErrors, image_errors, missed_objects
from gfl_plugin.analysis.report.examined_image import ExaminedImage
from gfl_plugin.analysis.report.report_content import CORRECT, ERROR_KINDS, IGNORED
from gfl_plugin.metrics.matching import Boxes

# Objects of class 0 at the left and of class 1 at the right.
LEFT, RIGHT = [0, 0, 100, 100], [150, 0, 250, 100]
OBJECTS = boxes([LEFT, RIGHT], [0, 1])


@pytest.mark.parametrize(
    ("box", "label", "kind", "about", "iou"),
    [
        (LEFT, 0, CORRECT, 0, 1.0),
        ([0, 0, 50, 100], 0, CORRECT, 0, 0.5),  # an IoU of t_f is a match
        ([0, 0, 49, 100], 0, "localization", 0, 0.49),
        ([0, 0, 10, 100], 0, "localization", 0, 0.1),  # from t_b
        ([0, 0, 9, 100], 0, "background", 0, 0.09),
        ([110, 0, 140, 100], 0, "background", -1, 0.0),
        ([0, 0, 50, 100], 1, "classification", 0, 0.5),
        ([0, 0, 49, 100], 1, "both", 0, 0.49),
        ([0, 0, 10, 100], 1, "background", 0, 0.1),  # both needs more than t_b, as in the authors' code
        ([150, 0, 240, 100], 2, "classification", 1, 0.9),
    ],
)
def test_a_detection_alone(box: list, label: int, kind: str, about: int, iou: float) -> None:
    errors = image_errors(image(OBJECTS, boxes([box], [label]), [0.5]))
    assert (errors.kinds.tolist(), errors.objects.tolist()) == ([kind], [about])
    assert errors.iou.tolist() == pytest.approx([iou])


def test_a_second_detection_of_an_object_is_a_duplicate_also_if_it_is_better() -> None:
    errors = image_errors(image(OBJECTS, boxes([[0, 0, 60, 100], LEFT], [0, 0]), [0.9, 0.8]))
    assert errors.kinds.tolist() == [CORRECT, "duplicate"] and errors.objects.tolist() == [0, 0]
    assert errors.own_iou.tolist() == pytest.approx([0.6, 1.0])


def test_localization_comes_before_classification_and_classification_before_duplicate() -> None:
    """A box over two objects of different classes."""
    both = boxes([[0, 0, 100, 100], [0, 0, 100, 60]], [0, 1])
    found = boxes([[0, 0, 100, 60], [0, 0, 100, 60], [0, 0, 100, 40], [0, 0, 100, 45]], [1, 0, 0, 1])
    errors = image_errors(image(both, found, [0.9, 0.8, 0.7, 0.6]))
    # The second finds object 0 at 0.6. The third overlaps that by 0.4 and object 1 by 0.67. The last overlaps object 1
    # by 0.75, which is found, and object 0 by 0.45.
    assert errors.kinds.tolist() == [CORRECT, CORRECT, "localization", "duplicate"]
    again = image_errors(image(both, boxes([[0, 0, 100, 60], [0, 0, 100, 60]], [1, 1]), [0.9, 0.8]))
    assert again.kinds.tolist() == [CORRECT, "classification"]  # of object 0, by 0.6


def test_detections_in_ignored_regions_are_no_errors_and_cost_nothing() -> None:
    crowd = boxes([[0, 200, 300, 300]], [0])
    found = boxes([LEFT, [10, 210, 60, 260], [10, 210, 60, 260]], [0, 0, 1])
    one = image(OBJECTS, found, [0.5, 0.9, 0.8], crowd)
    errors = image_errors(one)
    assert errors.kinds.tolist() == [CORRECT, IGNORED, "background"]
    gathered = all_errors([one], [errors], 3)
    assert len(gathered.scores) == 2
    assert gathered.objects.tolist() == [0, -1]


def test_missed_are_objects_that_no_detection_found_or_is_near() -> None:
    kinds = [CORRECT, "localization", "classification", "duplicate", "both", "background"]
    assert missed_objects(kinds, np.array([0, 1, 2, 3, 4, -1]), 6).tolist() == [3, 4, 5]
    assert missed_objects([], np.zeros(0, np.int64), 2).tolist() == [0, 1]


def gathered(images: tuple[ExaminedImage, ...]):
    errors = [image_errors(one) for one in images]
    return errors, all_errors(images, errors, len(CLASSES))


@pytest.mark.parametrize("crowds", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_ap50_is_that_of_pycocotools(seed: int, crowds: bool) -> None:
    images = random_images(seed, crowds=crowds)
    _, errors = gathered(images)
    assert mean_average_precision(errors.outcomes) == pytest.approx(coco_metrics(images, CLASSES).metrics["AP50"])


@pytest.mark.parametrize("crowds", [False, True])
@pytest.mark.parametrize("kind", ERROR_KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_the_cost_is_the_ap50_of_really_repaired_detections(seed: int, kind: str, crowds: bool) -> None:
    """Boxes are moved, classes changed, detections and objects removed, and pycocotools evaluates the result."""
    images = random_images(seed, crowds=crowds)
    errors, everything = gathered(images)
    better = [repaired_image(one, own, kind) for one, own in zip(images, errors)]
    gain = coco_metrics(better, CLASSES).metrics["AP50"] - coco_metrics(images, CLASSES).metrics["AP50"]
    costs = {cost.kind: cost for cost in error_costs(everything)}
    assert list(costs) == list(ERROR_KINDS)
    assert costs[kind].ap50_gain == pytest.approx(gain) and costs[kind].count > 0
    counts = [len(missed_objects(own.kinds, own.objects, len(one.objects.labels))) for one, own in zip(images, errors)]
    expected = sum(counts) if kind == "missed" else sum((own.kinds == kind).sum() for own in errors)
    assert costs[kind].count == expected


def repaired_image(one: ExaminedImage, errors: ImageErrors, kind: str) -> ExaminedImage:
    """The image as the oracle of a kind would have it."""
    if kind == "missed":
        missed = missed_objects(errors.kinds, errors.objects, len(one.objects.labels))
        left = Boxes(np.delete(one.objects.boxes, missed, axis=0), np.delete(one.objects.labels, missed))
        return replace(one, objects=left)
    own, kept = errors.kinds == kind, np.ones(len(one.scores), bool)
    found, labels = one.detections.boxes.copy(), one.detections.labels.copy()
    if kind in ("localization", "classification"):
        taken = set()
        for row, about in enumerate(errors.objects):
            if own[row] or errors.kinds[row] == CORRECT:
                kept[row] = about not in taken
                taken.add(about)
        if kind == "localization":
            found[own] = one.objects.boxes[errors.objects[own]]
        else:
            labels[own] = one.objects.labels[errors.objects[own]]
    else:
        kept = ~own
    return replace(one, detections=Boxes(found[kept], labels[kept]), scores=one.scores[kept])


def test_of_two_repaired_detections_of_an_object_the_one_with_the_higher_score_stays() -> None:
    """Also where the lower one was correct before: the paper's rule, unlike its authors' code."""
    scene = image(boxes([LEFT], [0]), boxes([[0, 0, 40, 100], LEFT], [0, 0]), [0.9, 0.8])
    errors = all_errors([scene], [image_errors(scene)], 1)
    assert errors.kinds.tolist() == ["localization", CORRECT]
    outcomes = repaired(errors, "localization")
    assert outcomes.scores.tolist() == [0.9] and outcomes.true.tolist() == [True]
    assert {cost.kind: cost.ap50_gain for cost in error_costs(errors)}["localization"] == pytest.approx(50)


def test_without_objects_or_detections_costs_are_undefined_or_nothing() -> None:
    """No number is infinite, and nothing raises."""
    empty = image(NOTHING, NOTHING, [])
    alone = image(NOTHING, boxes([LEFT], [0]), [0.5])
    unfound = image(OBJECTS, NOTHING, [])
    for scene in (empty, alone):
        assert all(np.isnan(cost.ap50_gain) for cost in error_costs(gathered((scene,))[1]))
    costs = {cost.kind: cost for cost in error_costs(gathered((unfound,))[1])}
    assert costs["missed"].count == 2 and np.isnan(costs["missed"].ap50_gain)  # no objects are left to be found
    assert costs["background"].ap50_gain == 0
