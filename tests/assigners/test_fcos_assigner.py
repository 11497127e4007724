"""FCOS's assignment equals MMDetection's at every point."""

from __future__ import annotations

import pytest
import torch
from cases import Recipe, build_head, our_head, random_batch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.models.task_modules.prior_generators import MlvlPointGenerator
from mmengine.structures import InstanceData

from gfl_plugin.assigners import FCOSAssigner
from gfl_plugin.structures.grid import Grid
from gfl_plugin.structures.ground_truths import GroundTruths
from gfl_plugin.structures.positives import Positives
from gfl_plugin.structures.valid_regions import ValidRegions

STRIDES = (8, 16, 32)
RANGES = ((-1, 40), (40, 90), (90, 1e8))


def assigned(batch, radius: float | None) -> tuple[Positives, GroundTruths, Grid]:
    head = our_head(anchor_generator=dict(center_offset=0.5))
    device = torch.device("cpu")
    grid = Grid.of(head.layout, [level.shape[-2:] for level in batch.cls_scores], device)
    truths = GroundTruths.of(batch.gt_instances, device)
    answer = FCOSAssigner(RANGES, radius).assign_batch(truths, None, grid, ValidRegions.of(grid, batch.img_metas))
    assert answer.ignored is None
    return answer.positives, truths, grid


@given(st.integers(0, 2**31), st.sampled_from([None, 1.5, 0.6]), st.integers(0, 40))
@settings(max_examples=40, deadline=None)
def test_each_point_has_mmdetections_target(seed: int, radius: float | None, objects: int) -> None:
    batch = random_batch(Recipe(seed=seed, objects=(objects, 3), same_size=True))
    theirs = build_head(
        dict(
            type="FCOSHead",
            num_classes=7,
            in_channels=8,
            feat_channels=8,
            stacked_convs=1,
            strides=STRIDES,
            regress_ranges=RANGES,
            norm_cfg=None,
            center_sampling=radius is not None,
            center_sample_radius=radius or 1.5,
        )
    )
    sizes = [level.shape[-2:] for level in batch.cls_scores]
    points = MlvlPointGenerator(STRIDES).grid_priors(sizes, device="cpu")
    labels, targets = theirs.get_targets(points, batch.gt_instances)
    positives, truths, grid = assigned(batch, radius)
    center = grid.center(positives.level, positives.location)
    box = truths.boxes[positives.gt_index]
    distance = torch.cat([center - box[:, :2], box[:, 2:] - center], dim=1)
    label = truths.labels[positives.gt_index]
    for level, (own, target) in enumerate(zip(labels, targets)):
        area = len(points[level])
        rows = positives.level == level
        flat = positives.image[rows] * area + positives.location[rows]
        expected = torch.full_like(own, 7)
        expected[flat] = label[rows]
        assert torch.equal(expected, own)
        assert torch.allclose(distance[rows], target[flat])
        assert len(flat.unique()) == len(flat)


def test_padding_has_no_positives() -> None:
    batch = random_batch(Recipe())
    batch.gt_instances[1] = InstanceData(bboxes=torch.tensor([[0.0, 0.0, 192.0, 160.0]]), labels=torch.tensor([1]))
    positives, _, grid = assigned(batch, None)
    own = positives.image == 1
    height, width = batch.img_metas[1]["pad_shape"]
    cell = grid.center(positives.level, positives.location)[own] - grid.stride[positives.level[own]][:, None] / 2
    assert own.any() and (cell[:, 0] < width).all() and (cell[:, 1] < height).all()


def test_of_equal_objects_the_first_is_assigned() -> None:
    batch = random_batch(Recipe(images=1, objects=(0,)))
    box = torch.tensor([[16.0, 16.0, 48.0, 48.0]])
    batch.gt_instances = [InstanceData(bboxes=box.repeat(2, 1), labels=torch.tensor([3, 5]))]
    positives, _, _ = assigned(batch, None)
    assert len(positives.gt_index) > 0 and not positives.gt_index.any()


def test_mistakes() -> None:
    with pytest.raises(ValueError, match=r"\(64, 64\).*least, largest"):
        FCOSAssigner([(-1, 64), (64, 64)])
    head = our_head(train_cfg=dict(assigner=dict(type="FCOSAssigner", topk=None)))
    with pytest.raises(ValueError, match="5 regress_ranges for 3 levels"):
        head.loss_by_feat(*random_batch(Recipe()).arguments())
