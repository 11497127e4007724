"""True positives with their objects: matched as by COCO, with the rows that belong to them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics.scenes import random_samples
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.structures import InstanceData

from gfl_plugin import LocalizationQualityMetric
from gfl_plugin.metrics.matched_sides import MatchedSides, match_sides
from gfl_plugin.metrics.matching import pairwise_overlap


def with_fields(sample: dict) -> dict:
    """The sample, whose detections have standard deviations and distributions that identify them by their score."""
    found = sample["pred_instances"]
    found["bbox_std"] = found["scores"][:, None] * torch.tensor([1.0, 2, 3, 4])
    found["bbox_distributions"] = found["scores"][:, None, None] * torch.ones(4, 5)
    return sample


@settings(max_examples=40)
@given(seed=st.integers(0, 2**31), grid=st.booleans(), iou_thr=st.sampled_from([0.3, 0.5, 0.75]))
def test_matches_are_those_of_the_metric_and_have_their_own_rows(seed: int, grid: bool, iou_thr: float) -> None:
    """Each is a detection, with the fields of that detection, and an object of its class with the metric's IoU."""
    for sample in random_samples(seed, grid=grid):
        matched = match_sides(with_fields(sample), iou_thr)
        metric = LocalizationQualityMetric(iou_thr=iou_thr, max_dets=100)
        metric.process(None, [sample])
        own = metric.results[0].matched
        assert sorted(own.scores[own.iou > 0]) == sorted(matched.scores)
        objects = [tuple(one["bbox"]) for one in sample["instances"] if not one["ignore_flag"]]
        labels = [one["bbox_label"] for one in sample["instances"] if not one["ignore_flag"]]
        taken = [objects.index(tuple(box)) for box in matched.true]
        assert len({*taken}) == len(taken) and [labels[i] for i in taken] == matched.labels.tolist()
        found = sample["pred_instances"]
        for row, score in enumerate(matched.scores):
            index = found["scores"].tolist().index(score)
            assert matched.predicted[row].tolist() == found["bboxes"][index].tolist()
            assert matched.std[row].tolist() == found["bbox_std"][index].tolist()
            assert matched.distributions[row].tolist() == found["bbox_distributions"][index].tolist()
            iou = pairwise_overlap(matched.predicted[row : row + 1], matched.true[row : row + 1])[0, 0]
            assert iou >= iou_thr and iou in own.iou[own.scores == score]


def a_sample(boxes: list, objects: list, **fields: object) -> dict:
    """Detections of class 0 with falling scores, and objects of class 0."""
    count = len(boxes)
    found = InstanceData(
        bboxes=torch.tensor(boxes).reshape(-1, 4),
        scores=torch.linspace(0.9, 0.5, count),
        labels=torch.zeros(count, dtype=torch.int64),
        **fields,
    )
    truth = InstanceData(
        bboxes=torch.tensor(objects).reshape(-1, 4), labels=torch.zeros(len(objects), dtype=torch.int64)
    )
    return DetDataSample(pred_instances=found, gt_instances=truth).to_dict()


def test_errors_are_positive_outside_the_predicted_box() -> None:
    sides = match_sides(a_sample([[10.0, 10, 50, 50]], [[8.0, 11, 53, 46]]), 0.5)
    assert sides.errors.tolist() == [[2, -1, 3, -4]]


def test_detections_that_are_not_finite_are_left_out() -> None:
    """They take no object, even with the highest score; the rows of the fields follow."""
    box = [10.0, 10, 50, 50]
    std = torch.arange(12.0).reshape(3, 4)
    sides = match_sides(a_sample([[float("nan"), 10, 50, 50], [0.0, 0, 5, 5], box], [box], bbox_std=std), 0.5)
    assert sides.predicted.tolist() == [box] and sides.std.tolist() == [[8, 9, 10, 11]]


def test_boxes_of_mmdetections_type_are_read() -> None:
    sample = a_sample([[10.0, 10, 50, 50]], [[8.0, 11, 53, 46]])
    expected = match_sides(sample, 0.5)
    for part in ("pred_instances", "gt_instances"):
        sample[part]["bboxes"] = HorizontalBoxes(sample[part]["bboxes"])
    assert match_sides(sample, 0.5).errors.tolist() == expected.errors.tolist()


def test_ignored_objects_are_not_matched() -> None:
    """A detection of a crowd is neither a match nor does it take an object."""
    sample = a_sample([[10.0, 10, 50, 50]], [])
    sample["ignored_instances"] = InstanceData(bboxes=torch.tensor([[0.0, 0, 90, 90]]), labels=torch.zeros(1)).to_dict()
    assert not len(match_sides(sample, 0.5))


def test_without_ground_truth_the_error_says_what_to_add() -> None:
    sample = DetDataSample(
        pred_instances=InstanceData(bboxes=torch.zeros(0, 4), scores=torch.zeros(0), labels=torch.zeros(0)),
        metainfo=dict(img_path="one.png"),
    )
    with pytest.raises(ValueError, match='no ground truth found in image one.png; add dict.type="LoadAnnotations"'):
        match_sides(sample.to_dict(), 0.5)


def test_images_are_numbered_in_their_order() -> None:
    """Also those without matches; rows are selected in all columns."""
    box, other = [10.0, 10, 50, 50], [60.0, 60, 90, 90]
    fields = [dict(bbox_std=torch.full((count, 4), 1.0 + number)) for number, count in enumerate((2, 0, 1))]
    parts = [a_sample([box, other], [box, other], **fields[0]), a_sample([], [box], **fields[1])]
    parts.append(a_sample([other], [other], **fields[2]))
    sides = MatchedSides.concatenate([match_sides(one, 0.5) for one in parts])
    assert sides.image.tolist() == [0, 0, 2] and sides.std[:, 0].tolist() == [1, 1, 3] and sides.distributions is None
    last = sides.rows(sides.image == 2)
    assert (len(last), last.predicted.tolist(), last.std.tolist()) == (1, [other], [[3.0] * 4])
    np.testing.assert_array_equal(sides.rows(np.array([2, 0])).true, [other, box])
