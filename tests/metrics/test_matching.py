"""Detections and objects are matched as by pycocotools."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics.scenes import CLASSES, instance, random_boxes, random_samples, sample
from pycocotools import mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from gfl_plugin import LocalizationQualityMetric
from gfl_plugin.metrics.matching import Boxes, match_greedily, match_image, pairwise_overlap


def with_sizes(boxes: np.ndarray) -> np.ndarray:
    """(N, 4) x, y, width, height of boxes given by their corners."""
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


@pytest.mark.parametrize("of_first", [False, True])
def test_overlaps_equal_those_of_pycocotools(of_first: bool) -> None:
    random = np.random.default_rng(0)
    boxes, others = random_boxes(random, 40, False), random_boxes(random, 30, True)
    expected = mask.iou(with_sizes(boxes), with_sizes(others), [int(of_first)] * 30)
    np.testing.assert_allclose(pairwise_overlap(boxes, others, of_first), expected, atol=1e-14)
    assert (expected > 0).any()
    assert (expected == 0).any()


def test_overlaps_of_boxes_without_area_or_with_nan_are_zero() -> None:
    boxes = np.array([[0, 0, 10, 10], [5, 5, 5, 9], [0, 0, np.nan, 5], [0, 0, np.inf, np.inf]], np.float64)
    expected = np.zeros((4, 4))
    expected[0, 0] = 1
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(pairwise_overlap(boxes, boxes), expected)
    assert pairwise_overlap(boxes, np.zeros((0, 4))).shape == (4, 0)


def test_a_worked_example() -> None:
    """The second takes what the first left; the third finds both taken; the fourth is in a crowd."""
    iou = np.array([[0.6, 0.7], [0.55, 0.9], [0.8, 0.8], [0.3, 0.0]])
    matches = match_greedily(iou, np.array([[0.9], [0.0], [0.2], [0.5]]), 0.5)
    assert matches.iou.tolist() == [0.7, 0.55, 0, 0]
    assert matches.object.tolist() == [1, 0, -1, -1]
    assert matches.ignored.tolist() == [False, False, False, True]


def test_without_overlap_nothing_is_matched_at_a_threshold_of_zero() -> None:
    """The object is left to the second detection, and a crowd elsewhere ignores nothing."""
    matches = match_greedily(np.array([[0.0], [0.1]]), np.zeros((2, 1)), 0.0)
    assert matches.iou.tolist() == [0, 0.1]
    assert matches.object.tolist() == [-1, 0]
    assert not matches.ignored.any()


def evaluated_by_pycocotools(samples: list[dict], iou_thr: float, max_dets: int) -> tuple[COCOeval, dict]:
    """COCOeval after ``evaluate()``, and the boxes by identifier."""
    truth = dict(images=[], annotations=[], categories=[dict(id=label) for label in range(CLASSES)])
    found = []
    for image in samples:
        truth["images"].append(dict(id=image["img_id"]))
        for entry in image["instances"]:
            box = with_sizes(np.array([entry["bbox"]]))[0].tolist()
            shared = dict(image_id=image["img_id"], category_id=entry["bbox_label"], area=box[2] * box[3])
            truth["annotations"].append(
                dict(id=len(truth["annotations"]) + 1, bbox=box, iscrowd=entry["ignore_flag"], **shared)
            )
        predicted = image["pred_instances"]
        boxes = with_sizes(predicted["bboxes"].numpy())
        for box, score, label in zip(boxes, predicted["scores"].tolist(), predicted["labels"].tolist()):
            found.append(dict(image_id=image["img_id"], category_id=label, bbox=box.tolist(), score=score))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = truth
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(found), "bbox")
        evaluation.params.iouThrs, evaluation.params.maxDets = [iou_thr], [max_dets]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.evaluate()
    return evaluation, {one["id"]: one["bbox"] for one in truth["annotations"]}


def assert_equal_to_pycocotools(samples: list[dict], iou_thr: float, max_dets: int) -> None:
    """Compare scores, IoUs and ignored detections of each image and class, and the number of objects."""
    metric = LocalizationQualityMetric(iou_thr=iou_thr, max_dets=max_dets)
    metric.process(None, samples)
    evaluation, objects = evaluated_by_pycocotools(samples, iou_thr, max_dets)
    boxes = {one["id"]: one["bbox"] for one in evaluation.cocoDt.anns.values()}
    for one in filter(None, evaluation.evalImgs):
        ours = metric.results[one["image_id"]].matched
        mine = ours.labels == one["category_id"]
        used = ~one["dtIgnore"][0].astype(bool)
        assert ours.scores[mine].tolist() == np.array(one["dtScores"])[used].tolist()
        matched = [
            mask.iou(np.array([boxes[found]]), np.array([objects[int(match)]]), [0])[0, 0] if match else 0
            for found, match in zip(np.array(one["dtIds"])[used], one["dtMatches"][0][used])
        ]
        np.testing.assert_allclose(ours.iou[mine], matched, atol=1e-12)
        assert (ours.object_labels == one["category_id"]).sum() == (np.array(one["gtIgnore"]) == 0).sum()


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    grid=st.booleans(),
    levels=st.sampled_from([0, 4]),
    iou_thr=st.sampled_from([0.1, 0.5, 0.75]),
    max_dets=st.sampled_from([2, 100]),
)
def test_matches_equal_those_of_pycocotools(seed: int, grid: bool, levels: int, iou_thr: float, max_dets: int) -> None:
    """True and false positives, ignored detections and IoUs, also with equal scores and equal IoUs."""
    samples = random_samples(seed, grid=grid, levels=levels)
    if any(len(image["pred_instances"]["scores"]) for image in samples):  # loadRes accepts no empty list
        assert_equal_to_pycocotools(samples, iou_thr, max_dets)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("second", [0, 1])
def test_of_equal_ious_the_same_object_is_taken(first: int, second: int) -> None:
    """The first detection lies between two objects; which one it takes decides whether the second one finds its own."""
    objects = np.array([[0.0, 0, 40, 40], [20, 0, 60, 40]])
    boxes = np.stack([[10.0, 0, 50, 40], objects[second]])
    entries = [instance(objects[first]), instance(objects[1 - first])]
    assert_equal_to_pycocotools([sample(boxes, [0.9, 0.8], [0, 0], entries)], 0.5, 100)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**31), grid=st.booleans())
def test_the_objects_of_an_image_are_those_of_the_matches(seed: int, grid: bool) -> None:
    """The index is that of the image's objects of all classes; it has the class and the IoU of the match."""
    random = np.random.default_rng(seed)
    objects = Boxes(random_boxes(random, 9, grid), random.integers(0, CLASSES, 9))
    shifted = objects.boxes[random.integers(0, 9, 20)] + random.integers(-8, 9, (20, 4))
    detections = Boxes(shifted, random.integers(0, CLASSES, 20))
    matches = match_image(detections, objects, Boxes(np.zeros((0, 4)), np.zeros(0, np.int64)), 0.3)
    true = matches.object >= 0
    taken = matches.object[true]
    assert len({*taken}) == len(taken)
    assert (detections.labels[true] == objects.labels[taken]).all()
    iou = pairwise_overlap(detections.boxes, objects.boxes)
    np.testing.assert_array_equal(matches.iou[true], iou[true, taken])
    assert (matches.iou[~true] == 0).all() and (matches.iou[true] >= 0.3).all()


def test_boxes_and_labels_of_different_lengths() -> None:
    with pytest.raises(ValueError, match="2 labels need"):
        Boxes(np.zeros((3, 4)), np.zeros(2, np.int64))
