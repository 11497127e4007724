"""Heads with other qualities, coders and assigners equal MMDetection's heads, or the formula."""

from __future__ import annotations

import pytest
import torch
from cases import Recipe, build_head, head_config, our_head, random_batch, record
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import ConfigDict
from torch import Tensor

from gfl_plugin.assigners import FCOSAssigner, Predictions
from gfl_plugin.ops.box_geometry import aligned_iou
from gfl_plugin.quality import Matched
from gfl_plugin.quality.measures import centerness
from gfl_plugin.structures.grid import Grid
from gfl_plugin.structures.ground_truths import GroundTruths
from gfl_plugin.structures.positives import gather_locations
from gfl_plugin.structures.valid_regions import ValidRegions

LEVELS = dict(strides=[8, 16, 32])
RANGES = ((-1, 64), (64, 128), (128, 1e8))


def parts(*, quality: dict, assigner: dict | None = None, offset: float = 0.0, **changes: object) -> object:
    """Our head with a quality representation and a Dirac coder."""
    return our_head(
        loss_cls=None,
        loss_dfl=None,
        quality=quality,
        bbox_coder=dict(type="DiracBBoxCoder"),
        anchor_generator=dict(center_offset=offset),
        **(dict(train_cfg=dict(assigner=assigner)) if assigner else {}),
        **changes,
    )


def fcos_like(quality: dict, radius: float | None = None, **changes: object) -> object:
    head = parts(quality=quality, offset=0.5, **changes)
    head.assigner = FCOSAssigner(RANGES, radius)
    return head


def mmdet_fcos(**changes: object) -> object:
    return build_head(
        ConfigDict(
            type="FCOSHead",
            num_classes=7,
            in_channels=8,
            feat_channels=8,
            stacked_convs=1,
            strides=[8, 16, 32],
            regress_ranges=RANGES,
            norm_cfg=dict(type="GN", num_groups=2),
            loss_bbox=dict(type="GIoULoss", loss_weight=2.0),
            test_cfg=head_config()["test_cfg"],
            **changes,
        )
    )


def mmdet_atss() -> object:
    config = head_config(type="ATSSHead", loss_dfl=None, loss_cls=None)
    config["loss_cls"] = dict(type="FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25)
    return build_head(config)


def branch_maps(batch) -> list[Tensor]:
    random = torch.Generator().manual_seed(9)
    return [torch.randn(len(level), 1, *level.shape[-2:], generator=random) for level in batch.cls_scores]


def small_boxes(batch) -> list[Tensor]:
    """Four numbers per location in place of the recipe's distributions."""
    return [level[:, :4] * 0.3 + 0.7 for level in batch.bbox_preds]


def with_gradients(function, *maps: list[Tensor]) -> tuple[dict[str, float], list[Tensor]]:
    leaves = [[level.detach().clone().requires_grad_() for level in each] for each in maps]
    losses = function(*leaves)
    values = {name: sum(v) if isinstance(v, (list, tuple)) else v for name, v in losses.items()}
    sum(values.values()).backward()
    return {k: float(v) for k, v in values.items()}, [level.grad for each in leaves for level in each]


@given(st.integers(0, 2**31), st.sampled_from([None, 1.5]), st.integers(0, 12))
@settings(max_examples=25, deadline=None)
def test_centerness_branch_on_fcos_assignment_is_mmdetections_fcos(
    seed: int, radius: float | None, objects: int
) -> None:
    """All three losses and all gradients are equal; distances are e^x, in pixels there and in strides here."""
    ours = fcos_like(dict(type="QualityBranch", measure="centerness"), radius)
    theirs = mmdet_fcos(center_sampling=radius is not None)
    batch = random_batch(Recipe(seed=seed, objects=(objects, 3), same_size=True))
    batch.gt_instances[1].bboxes[0] = torch.tensor([20.0, 30.0, 61.0, 83.0])  # gives this image a positive; see below

    def our_losses(scores, boxes, quality):
        return ours.loss_by_feat(scores, boxes, batch.gt_instances, batch.img_metas, score_factors=quality)

    def their_losses(scores, boxes, quality):
        pixels = [level.exp() * stride for level, stride in zip(boxes, LEVELS["strides"])]
        return theirs.loss_by_feat(scores, pixels, quality, batch.gt_instances, batch.img_metas)

    maps = (batch.cls_scores, small_boxes(batch), branch_maps(batch))
    if objects == 0 or not assigned_everywhere(ours, batch):
        return
    (found, own), (expected, their) = with_gradients(our_losses, *maps), with_gradients(their_losses, *maps)
    for name in expected:
        assert record("FCOS: losses, relative", abs(found[name] / expected[name] - 1)) < 2e-5
    largest = max(float(g.abs().max()) for g in their)
    worst = max(float((a - b).abs().max()) for a, b in zip(own, their)) / largest
    assert record("FCOS: gradients, of the largest", worst) < 2e-5


def assigned_everywhere(head, batch) -> bool:
    """Whether every image has a positive; an image without one counts as one in our head, not in MMDetection's FCOS."""
    positives = assigned_by(head, batch)[0]
    return set(positives.image.tolist()) == set(range(len(batch.gt_instances)))


def assigned_by(head, batch, boxes: list[Tensor] | None = None) -> tuple:
    device = torch.device("cpu")
    grid = Grid.of(head.layout, [level.shape[-2:] for level in batch.cls_scores], device)
    regions = ValidRegions.of(grid, batch.img_metas)
    truths = GroundTruths.of(batch.gt_instances, device)
    ignore = GroundTruths.of(batch.gt_instances_ignore, device) if batch.gt_instances_ignore else None
    predictions = Predictions(batch.cls_scores, boxes or batch.bbox_preds, head.bbox_coder)
    answer = head.assigner.assign_batch(truths, ignore, grid, regions, predictions)
    return answer.positives, answer.ignored, truths, grid


def test_centerness_branch_on_atss_assignment_has_mmdetections_class_and_centerness_losses() -> None:
    """Box losses are not compared, because ATSSHead codes boxes differently."""
    ours, theirs = parts(quality=dict(type="QualityBranch", measure="centerness")), mmdet_atss()
    batch = random_batch(Recipe(same_size=True))
    quality = branch_maps(batch)
    maps, truths = (batch.cls_scores, small_boxes(batch)), (batch.gt_instances, batch.img_metas)
    found = ours.loss_by_feat(*maps, *truths, score_factors=quality)
    expected = theirs.loss_by_feat(*maps, quality, *truths)
    for name in ("loss_cls", "loss_centerness"):
        assert torch.allclose(torch.stack(found[name]), torch.stack(list(expected[name])), rtol=1e-5, atol=1e-7)


def test_a_branch_multiplies_the_score_as_in_mmdetections_fcos() -> None:
    ours, theirs = fcos_like(dict(type="QualityBranch")), mmdet_fcos()
    batch = random_batch(Recipe(same_size=True))
    boxes, quality = small_boxes(batch), branch_maps(batch)
    pixels = [level.exp() * stride for level, stride in zip(boxes, LEVELS["strides"])]
    found = ours.predict_by_feat(batch.cls_scores, boxes, quality, batch_img_metas=batch.img_metas)
    expected = theirs.predict_by_feat(batch.cls_scores, pixels, quality, batch_img_metas=batch.img_metas)
    for a, b in zip(found, expected):
        assert len(a) == len(b) > 10
        assert torch.equal(a.labels, b.labels)
        assert torch.allclose(a.scores, b.scores, rtol=1e-5) and torch.allclose(a.bboxes, b.bboxes, atol=1e-2)


@pytest.mark.parametrize("measure", ["centerness", "iou"])
def test_guided_quality_weights_the_class_loss_of_positives(measure: str) -> None:
    """The loss is -q·α(1-σ)²·log σ at a positive's class, with quality q, and -(1-α)σ²·log(1-σ) elsewhere."""
    head = parts(quality=dict(type="GuidedQuality", measure=measure))
    plain = parts(quality=dict(type="NoQuality"))
    batch = random_batch(Recipe(same_size=True))
    boxes = small_boxes(batch)
    positives, _, truths, grid = assigned_by(head, batch, boxes)
    stride = grid.stride[positives.level][:, None]
    center = grid.center(positives.level, positives.location)
    target = truths.boxes[positives.gt_index]
    raw = gather_locations(boxes, positives)
    distance = raw.exp() * stride
    predicted = torch.cat([center - distance[:, :2], center + distance[:, 2:]], dim=1)
    if measure == "iou":
        quality = aligned_iou(predicted, target)
    else:
        left, top = (center - target[:, :2]).unbind(1)
        right, bottom = (target[:, 2:] - center).unbind(1)
        low = torch.minimum(left, right) * torch.minimum(top, bottom)
        quality = (low / (torch.maximum(left, right) * torch.maximum(top, bottom))).sqrt()
    score = gather_locations(batch.cls_scores, positives).sigmoid()
    one_hot = torch.nn.functional.one_hot(truths.labels[positives.gt_index], 7).float()
    focal = -0.25 * (1 - score) ** 2 * score.log() * one_hot - 0.75 * score**2 * (1 - score).log() * (1 - one_hot)
    count = len(positives.image)
    difference = (focal.sum(1) * (1 - quality)).sum() / count
    guided = sum(head.loss_by_feat(batch.cls_scores, boxes, batch.gt_instances, batch.img_metas)["loss_cls"])
    unguided = sum(plain.loss_by_feat(batch.cls_scores, boxes, batch.gt_instances, batch.img_metas)["loss_cls"])
    assert torch.allclose(unguided - guided, difference, rtol=1e-4)


def test_centerness_is_1_at_the_center_and_0_outside() -> None:
    distance = torch.tensor([[4.0, 3.0, 4.0, 3.0], [1.0, 3.0, 4.0, 3.0], [-1.0, 3.0, 9.0, 3.0]])
    rows = torch.zeros(3, 4)
    found = centerness(Matched(distance, rows, rows, torch.zeros(3)))
    assert torch.allclose(found, torch.tensor([1.0, 0.5, 0.0]))


def test_only_a_branch_has_layers_and_a_third_output() -> None:
    features = [torch.randn(1, 8, size, size) for size in (20, 10, 5)]
    for name, outputs in (("NoQuality", 2), ("GuidedQuality", 2), ("QualityBranch", 3), ("JointQuality", 2)):
        head = parts(quality=dict(type=name))
        assert len(head(features)) == outputs
        assert bool(list(head.quality.parameters())) == (outputs == 3)
