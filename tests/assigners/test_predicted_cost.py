"""With DDOD's cost, our ATSS assigns the same locations as MMDetection's, for a whole batch at once."""

from __future__ import annotations

import pytest
import torch
from cases import Recipe, losses_and_gradients, our_head, random_batch
from mmengine.structures import InstanceData
from sizes import SCALE

from gfl_plugin.assigners import ATSSAssigner, Predictions
from gfl_plugin.structures.grid import Grid
from gfl_plugin.structures.ground_truths import GroundTruths
from gfl_plugin.structures.valid_regions import ValidRegions


def assigned(name: str, batch, **settings) -> set[tuple[int, int, int, int]]:
    """Image, level, location and object of each positive."""
    head = our_head(train_cfg=dict(assigner=dict(type=name, **settings)))
    grid = Grid.of(head.layout, [level.shape[-2:] for level in batch.cls_scores], torch.device("cpu"))
    truths = GroundTruths.of(batch.gt_instances, torch.device("cpu"))
    predictions = Predictions(batch.cls_scores, batch.bbox_preds, head.bbox_coder)
    answer = head.assigner.assign_batch(truths, None, grid, ValidRegions.of(grid, batch.img_metas), predictions)
    found = answer.positives
    return set(zip(*(part.tolist() for part in (found.image, found.level, found.location, found.gt_index))))


@pytest.mark.scaled
@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.8, 1.0])
def test_the_positives_are_mmdetections(alpha: float) -> None:
    """For padded images of different sizes, crowds, and images without objects."""
    count = 0
    for seed in range(5 * SCALE):
        batch = random_batch(Recipe(seed=seed, objects=(seed % 7, 30)))
        ours = assigned("gfl_plugin.ATSSAssigner", batch, topk=9, alpha=alpha)
        assert ours == assigned("mmdet.ATSSAssigner", batch, topk=9, alpha=alpha)
        count += len(ours)
    assert count > 0


def test_the_cost_by_hand() -> None:
    """One object, one candidate: the score 0.25 and the IoU 0.5 give 0.25^0.2 · 0.5^0.8."""
    seen = []
    head = our_head(train_cfg=dict(assigner=dict(type="gfl_plugin.ATSSAssigner", topk=1, alpha=0.8)))
    head.assigner.hooks.append(seen.append)
    batch = random_batch(Recipe(images=1, objects=(0,)))
    level = batch.cls_scores[0]
    grid = Grid.of(head.layout, [part.shape[-2:] for part in batch.cls_scores], torch.device("cpu"))
    x, y = grid.center(torch.tensor([0]), torch.tensor([3 * level.shape[3] + 4]))[0].tolist()
    batch.cls_scores[0].data[0, 2, 3, 4] = torch.tensor(0.25).logit()
    # All sides in bin 1, 8 px from the center: a square of 16 px; the object has half of its height.
    sides = torch.full((4, 17), -100.0)
    sides[:, 1] = 100.0
    batch.bbox_preds[0].data[0, :, 3, 4] = sides.flatten()
    box = torch.tensor([[x - 8, y - 4, x + 8, y + 4]])
    batch.gt_instances = [InstanceData(bboxes=box, labels=torch.tensor([2]))]
    losses_and_gradients(head, batch)
    assert float(seen[0].candidates.iou[0, 0]) == pytest.approx(0.25**0.2 * 0.5**0.8, rel=1e-5)


def test_without_predictions_the_priors_count() -> None:
    """A data check has no network."""
    head, batch = our_head(), random_batch(Recipe())
    grid = Grid.of(head.layout, [level.shape[-2:] for level in batch.cls_scores], torch.device("cpu"))
    truths = GroundTruths.of(batch.gt_instances, torch.device("cpu"))
    arguments = (truths, None, grid, ValidRegions.of(grid, batch.img_metas))
    with_cost, plain = (ATSSAssigner(9, alpha=alpha).assign_batch(*arguments).positives for alpha in (0.8, None))
    assert torch.equal(with_cost.location, plain.location) and torch.equal(with_cost.gt_index, plain.gt_index)


def test_each_object_can_have_its_minimum() -> None:
    batch = random_batch(Recipe(objects=(20, 30)))
    found = assigned("gfl_plugin.ATSSAssigner", batch, topk=9, alpha=0.8, min_positives=2)
    counts = torch.bincount(torch.tensor([row[3] for row in found]), minlength=50)
    assert int(counts.min()) >= 2


@pytest.mark.parametrize("alpha", [-0.1, 1.5])
def test_mistakes(alpha: float) -> None:
    with pytest.raises(ValueError, match=r"alpha is .*; it must be in \[0, 1\]"):
        ATSSAssigner(9, alpha=alpha)
