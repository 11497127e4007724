"""A picture explains the best boxes that can be told apart; each has its own curves."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from cases import Recipe, our_head, random_batch
from mmengine.structures import InstanceData

from gfl_plugin.metrics.matching import pairwise_overlap
from gfl_plugin.pictures.pictured_boxes import BINS, NONE, NORMAL, pictured_boxes, side_bins, side_settings

CLASSES = tuple("abcdefg")


def predicted(kind: str) -> tuple[InstanceData, torch.nn.Module]:
    """Detections of a head with random outputs, not clipped, with the fields that its pictures need."""
    coder = dict(type=f"{kind}BBoxCoder", clip_border=False)
    head = our_head(bbox_coder=coder, loss_dfl="by_coder")
    batch = random_batch(Recipe(images=1, objects=(1,)))
    boxes = [level[:, : head.bbox_coder.encode_size] for level in batch.bbox_preds]
    cfg = {**head.test_cfg, **side_settings(head)}
    (found,) = head.predict_by_feat(batch.cls_scores, boxes, batch_img_metas=batch.img_metas, cfg=cfg, rescale=True)
    return found, head


@pytest.mark.parametrize(("kind", "drawn"), [("Integral", BINS), ("Gaussian", NORMAL), ("Dirac", NONE)])
def test_each_box_has_the_curves_of_its_sides(kind: str, drawn: str) -> None:
    found, head = predicted(kind)
    pictured = pictured_boxes(found, CLASSES, side_bins(head), 0.1, 9)
    assert pictured.kind == drawn and pictured.explained == 9 and (pictured.curves is None) == (drawn == NONE)
    if pictured.curves is not None:
        heights, positions = pictured.curves.heights, pictured.curves.positions
        assert len(heights) == 9
        middle = (heights * positions).sum(axis=2) / heights.sum(axis=2)
        np.testing.assert_allclose(middle, pictured.boxes[:9], atol=1e-3)


def test_the_best_boxes_that_do_not_hide_each_other_are_explained() -> None:
    found, head = predicted("Integral")
    pictured = pictured_boxes(found, CLASSES, side_bins(head), 0.2, 1000)
    above = found.scores >= 0.2
    assert 0 < pictured.explained < len(pictured.boxes) == int(above.sum())
    assert sorted(pictured.scores.tolist()) == sorted(found.scores[above].tolist())
    overlap = pairwise_overlap(pictured.boxes, pictured.boxes)
    best, others = slice(pictured.explained), range(pictured.explained, len(pictured.boxes))
    assert (np.triu(overlap[best, best], 1) <= 0.5).all() and (np.diff(pictured.scores[best]) <= 0).all()
    for row in others:  # a better box is explained in its place
        assert (overlap[row, best][pictured.scores[best] >= pictured.scores[row]] > 0.5).any()
    few = pictured_boxes(found, CLASSES, side_bins(head), 0.2, 3)
    assert few.explained == len(few.curves.heights) == 3 and len(few.boxes) == len(pictured.boxes)
    assert np.array_equal(few.boxes[:3], pictured.boxes[:3])


def test_names_belong_to_their_boxes() -> None:
    found, head = predicted("Dirac")
    found.labels[0] = 11  # not a class of the data
    pictured = pictured_boxes(found, CLASSES, side_bins(head), 0.0, 2)
    expected = [CLASSES[label] if label < 7 else "11" for label in found.labels.tolist()]
    given = zip(found.bboxes.tolist(), found.scores.tolist(), expected)
    assert sorted(zip(pictured.boxes.tolist(), pictured.scores.tolist(), pictured.names)) == sorted(given)


def test_boxes_that_are_not_finite_are_left_out() -> None:
    found, head = predicted("Integral")
    count = len(found)
    found.bboxes[0, 2], found.bboxes[1, 0] = float("nan"), float("inf")
    pictured = pictured_boxes(found, CLASSES, side_bins(head), 0.0, 5)
    assert len(pictured.boxes) == count - 2 and np.isfinite(pictured.boxes).all()


def test_without_detections_there_is_nothing_to_draw() -> None:
    for kind in ("Integral", "Gaussian", "Dirac"):
        found, head = predicted(kind)
        pictured = pictured_boxes(found, CLASSES, side_bins(head), 1.0, 5)
        assert len(pictured.boxes) == len(pictured.names) == pictured.explained == 0


def test_a_head_of_others_needs_no_settings() -> None:
    """Not even with a box coder of the plugin, because it does not read them."""
    _, own = predicted("Integral")
    theirs = SimpleNamespace(bbox_coder=own.bbox_coder)
    assert side_settings(None) == side_settings(theirs) == {} != side_settings(own)
    assert side_bins(None) is side_bins(theirs) is None
