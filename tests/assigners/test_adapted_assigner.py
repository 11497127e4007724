"""MMDetection's assigners in GFLHead give the same assignment as when they are called directly."""

from __future__ import annotations

import pytest
import torch
from cases import Recipe, losses_and_gradients, our_head, random_batch
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData

from gfl_plugin.assigners import Predictions
from gfl_plugin.structures.grid import Grid
from gfl_plugin.structures.ground_truths import GroundTruths
from gfl_plugin.structures.valid_regions import ValidRegions

ASSIGNERS = {
    "max IoU": dict(type="MaxIoUAssigner", pos_iou_thr=0.4, neg_iou_thr=0.1, min_pos_iou=0, ignore_iof_thr=-1),
    "task-aligned": dict(type="TaskAlignedAssigner", topk=13),
    "SimOTA": dict(type="SimOTAAssigner", center_radius=2.5),
    "dynamic soft label": dict(type="DynamicSoftLabelAssigner", topk=13),
    "MMDetection's ATSS": dict(type="mmdet.ATSSAssigner", topk=9),
    "DDOD's ATSS": dict(type="mmdet.ATSSAssigner", topk=9, alpha=0.8),
    "our ATSS with DDOD's cost": dict(type="gfl_plugin.ATSSAssigner", topk=9, alpha=0.8),
}


def head_with(name: str):
    return our_head(train_cfg=dict(assigner={"topk": None, **ASSIGNERS[name]}))


def inputs_of(batch) -> tuple:
    """The arguments of assign_batch but predictions."""
    device = torch.device("cpu")
    grid = Grid.of(our_head().layout, [level.shape[-2:] for level in batch.cls_scores], device)
    return GroundTruths.of(batch.gt_instances, device), None, grid, ValidRegions.of(grid, batch.img_metas)


def answer_of(head, batch):
    inputs = inputs_of(batch)
    predictions = Predictions(batch.cls_scores, batch.bbox_preds, head.bbox_coder)
    return head.assigner.assign_batch(*inputs, predictions), inputs[0]


def called_directly(name: str, head, batch, image: int) -> torch.Tensor:
    """(A,) the assigner's result for all priors of an unpadded image; boxes and scores are computed here."""
    sizes = [level.shape[-2:] for level in batch.cls_scores]
    priors = torch.cat(head.prior_generator.grid_priors(sizes, device="cpu"))
    counts = [h * w for h, w in sizes]
    stride = torch.cat([torch.full((count, 1), float(s)) for count, s in zip(counts, (8, 16, 32))])
    center = (priors[:, :2] + priors[:, 2:]) / 2
    logits = torch.cat([level[image].permute(1, 2, 0).reshape(-1, 7) for level in batch.cls_scores])
    raw = torch.cat([level[image].permute(1, 2, 0).reshape(-1, 68) for level in batch.bbox_preds])
    distance = (raw.view(-1, 4, 17).softmax(-1) * torch.arange(17)).sum(-1) * stride
    boxes = torch.cat([center - distance[:, :2], center + distance[:, 2:]], dim=1)
    points = name in ("SimOTA", "dynamic soft label")
    takes_logits = name == "dynamic soft label" or "DDOD" in name
    shown = InstanceData(priors=torch.cat([center, stride, stride], dim=1) if points else priors)
    if name != "MMDetection's ATSS":
        shown.bboxes, shown.scores = boxes, logits if takes_logits else logits.sigmoid()
    config = dict(ASSIGNERS[name], type=ASSIGNERS[name]["type"].split(".")[-1])
    assigner = TASK_UTILS.build(config)
    arguments = (shown, counts, batch.gt_instances[image]) if "ATSS" in name else (shown, batch.gt_instances[image])
    return assigner.assign(*arguments).gt_inds


@pytest.mark.parametrize("name", list(ASSIGNERS))
def test_the_assignment_is_that_of_a_direct_call(name: str) -> None:
    head = head_with(name)
    batch = random_batch(Recipe(same_size=True, objects=(6, 4)))
    answer, truths = answer_of(head, batch)
    positives = answer.positives
    starts = torch.tensor([0, 20 * 24, 20 * 24 + 10 * 12])
    first = 0
    for image, count in enumerate(truths.counts):
        expected = called_directly(name, head, batch, image)
        found = torch.zeros_like(expected)
        own = positives.image == image
        found[starts[positives.level[own]] + positives.location[own]] = positives.gt_index[own] - first + 1
        if answer.ignored is not None:
            found[torch.cat([level[image].flatten() for level in answer.ignored])] = -1
        assert torch.equal(found, expected) and (expected > 0).any()
        first += count
    assert (answer.ignored is not None) == (name == "max IoU")
    assert torch.equal(positives.level, positives.level.sort().values)


@pytest.mark.parametrize("name", list(ASSIGNERS))
def test_a_step_with_padding_and_degenerate_boxes(name: str) -> None:
    """With an image without objects and a box without area, gradients are finite and other boxes have positives."""
    head = head_with(name)
    batch = random_batch(Recipe(images=3, objects=(5, 0, 3)))
    batch.gt_instances[2].bboxes[1] = torch.tensor([40.0, 40.0, 40.0, 40.0])
    losses, *gradients = losses_and_gradients(head, batch)
    assert all(torch.isfinite(level).all() for each in gradients for level in each)
    assert sum(losses["loss_bbox"]) > 0
    answer, truths = answer_of(head, batch)
    assert not truths.empty[answer.positives.gt_index].any()


def test_predictions_that_are_needed_are_named() -> None:
    """A direct call may have no network: MMDetection's ATSS needs none, other assigners are given its outputs."""
    batch = random_batch(Recipe())
    for name in ("max IoU", "DDOD's ATSS", "SimOTA"):
        assigner = head_with(name).assigner
        kind = type(assigner.assigner).__name__
        with pytest.raises(ValueError, match=f"a {kind} of MMDetection.*predictions is None; give the outputs"):
            assigner.assign_batch(*inputs_of(batch), None)
    alone, given = head_with("MMDetection's ATSS").assigner, answer_of(head_with("MMDetection's ATSS"), batch)[0]
    assert torch.equal(alone.assign_batch(*inputs_of(batch), None).positives.location, given.positives.location)


def test_locations_that_max_iou_ignores_are_not_trained_on() -> None:
    """Priors between the two thresholds have index -1, and their class logits have no gradient."""
    head = head_with("max IoU")
    batch = random_batch(Recipe(same_size=True))
    ignored = answer_of(head, batch)[0].ignored
    gradients = losses_and_gradients(head, batch)[1]
    assert any(level.any() for level in ignored)
    for blocked, gradient in zip(ignored, gradients):
        assert not gradient.permute(0, 2, 3, 1)[blocked].any()
