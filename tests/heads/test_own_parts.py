"""The assigner, quality, box coder and head of docs/extend.md work with GFLHead's losses and prediction."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest
import torch
from cases import Recipe, our_head, random_batch
from kernels import BACKENDS
from torch import Tensor

from gfl_plugin.assigners import BatchAssignment
from gfl_plugin.ops.backend import use_backend
from gfl_plugin.structures.grid import Grid
from gfl_plugin.structures.ground_truths import GroundTruths
from gfl_plugin.structures.positives import Positives
from gfl_plugin.structures.valid_regions import ValidRegions

PAGE = Path(__file__).resolve().parents[2] / "docs" / "extend.md"


@pytest.fixture(scope="module", autouse=True)
def _files(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Import the Python files of the page."""
    folder = tmp_path_factory.mktemp("own_parts")
    names = []
    for name, text in re.findall(r"```python\n# (\w+)\.py\n(.*?)```", PAGE.read_text(), re.DOTALL):
        (folder / f"{name}.py").write_text(text)
        names.append(name)
    assert {"center_assigner", "iou_aware", "softplus_coder", "one_tower_head"} <= set(names)
    sys.path.insert(0, str(folder))
    for name in names:
        if name not in sys.modules:
            importlib.import_module(name)
    sys.path.remove(str(folder))


def _trained(head: torch.nn.Module, steps: int = 30) -> list[dict[str, float]]:
    """Losses of each step of a short training of a head on one batch of features."""
    torch.manual_seed(0)
    batch = random_batch(Recipe(objects=(4, 6), same_size=True))
    features = [torch.randn(2, 8, *level.shape[-2:]) for level in batch.cls_scores]
    optimizer = torch.optim.Adam(head.parameters(), lr=3e-3)
    history = []
    for _ in range(steps):
        cls_scores, bbox_preds, *maps = head(features)
        losses = head.loss_by_feat(
            cls_scores, bbox_preds, batch.gt_instances, batch.img_metas, score_factors=maps[0] if maps else None
        )
        total = sum(sum(levels) for levels in losses.values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        history.append({name: float(sum(levels)) for name, levels in losses.items()})
    return history


def test_a_users_own_assigner() -> None:
    """Each positive is the location nearest to its object's center, on the level nearest to a quarter of its side."""
    head = our_head(train_cfg=dict(assigner=dict(type="gfl_plugin.CenterAssigner", topk=None)))
    batch = random_batch(Recipe(objects=(12, 20)))
    grid = Grid.of(head.layout, [level.shape[-2:] for level in batch.cls_scores], "cpu")
    truths = GroundTruths.of(batch.gt_instances, torch.device("cpu"))
    regions = ValidRegions.of(grid, batch.img_metas)
    positives = head.assigner.assign_batch(truths, None, grid, regions, None).positives
    assert len(positives.image) > 5
    for image, level, location, gt in zip(positives.image, positives.level, positives.location, positives.gt_index):
        box = truths.boxes[gt]
        assert int(truths.image[gt]) == int(image)
        side = float((box[2:] - box[:2]).prod().sqrt())
        assert int(level) == min(range(3), key=lambda n: abs(side / 4 - float(grid.stride[n])))
        height, width = grid.sizes[level]
        everywhere = torch.arange(height * width)
        distance = (grid.center(torch.full_like(everywhere, int(level)), everywhere) - (box[:2] + box[2:]) / 2).norm(
            dim=1
        )
        assert float(distance[location]) <= float(distance.min()) + 1e-4
    history = _trained(head)
    assert history[-1]["loss_bbox"] < history[0]["loss_bbox"] and history[-1]["loss_cls"] < history[0]["loss_cls"]


def test_an_assigner_that_gives_a_location_to_two_objects_is_an_error() -> None:
    class Twice:
        def assign_batch(self, ground_truths, ignored, grid, valid_regions, predictions):
            zeros = torch.zeros(2, dtype=torch.int64)
            return Positives.of(zeros, zeros, zeros, torch.arange(2), grid.num_levels)

    head = our_head()
    head.assigner = Twice()
    with pytest.raises(ValueError, match="gave one location of an image to two objects"):
        head.loss_by_feat(*random_batch(Recipe()).arguments())


class Indices:
    """Gives one positive with these indices, for batches of two images with five and three objects."""

    def __init__(self, image: int, level: int, location: int, gt_index: int) -> None:
        self.indices = image, level, location, gt_index

    def assign_batch(self, ground_truths, ignored, grid, valid_regions, predictions):
        indices = (torch.tensor([index]) for index in self.indices)
        return BatchAssignment(Positives.of(*indices, grid.num_levels))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ((0, 2, 30, 0), "a location on level 2 the index 30, but there are 30 locations, 5 x 6"),
        ((1, 0, 20 * 24, 5), "a location on level 0 the index 480, but there are 480 locations, 20 x 24"),
        ((1, 1, -1, 7), "a location on level 1 the index -1, but there are 120"),
        ((2, 0, 3, 5), "an image the index 2, but there are 2 images"),
        ((-1, 0, 3, 5), "an image the index -1"),
        ((1, 0, 3, 8), "an object the index 8, but there are 8 objects"),
        ((1, 0, 3, -1), "an object the index -1"),
        ((0, 3, 3, 0), "positives of 4 levels, but the head has 3"),
        ((0, 0, 3, 5), "a location of one image to an object of another"),
    ],
)
def test_an_assigner_whose_positives_do_not_exist_is_an_error(indices: tuple, message: str, backend: str) -> None:
    """Also with compiled loops, which do not check indices and would train on other memory."""
    head = our_head()
    head.assigner = Indices(*indices)
    with use_backend(backend), pytest.raises(ValueError, match=f"Indices gave {message}"):
        head.loss_by_feat(*random_batch(Recipe()).arguments())


@pytest.mark.parametrize("indices", [(0, 2, 29, 4), (1, 0, 20 * 24 - 1, 7), (1, 1, 0, 5)])
def test_the_first_and_the_last_location_and_object_exist(indices: tuple[int, int, int, int]) -> None:
    head = our_head()
    head.assigner = Indices(*indices)
    losses = head.loss_by_feat(*random_batch(Recipe()).arguments())
    assert [float(level) > 0 for level in losses["loss_bbox"]] == [level == indices[1] for level in range(3)]


def _iou_aware(alpha: float) -> torch.nn.Module:
    return our_head(
        quality=dict(type="gfl_plugin.IoUAwareQuality", alpha=alpha),
        loss_cls=dict(type="FocalLoss", use_sigmoid=True, beta=None),
    )


def test_a_users_own_quality_representation() -> None:
    """It adds an output and a loss, and its score replaces the class score of detections."""
    head = _iou_aware(0.25)
    history = _trained(head)
    assert set(history[0]) == {"loss_cls", "loss_bbox", "loss_dfl", "loss_iou"}
    assert history[-1]["loss_iou"] < history[0]["loss_iou"]

    batch = random_batch(Recipe(same_size=True))
    quality = [torch.randn(2, 1, *level.shape[-2:]) for level in batch.cls_scores]
    maps: tuple[list[Tensor], ...] = (batch.cls_scores, batch.bbox_preds)
    arguments = dict(batch_img_metas=batch.img_metas, with_nms=False)
    plain = our_head().predict_by_feat(*maps, **arguments)
    own = head.predict_by_feat(*maps, quality, **arguments)
    for image, (one, other) in enumerate(zip(plain, own)):
        assert len(one) == len(other) > 20 and torch.equal(one.bboxes, other.bboxes)
        found = {round(float(score), 6) for score in other.scores}
        expected = {
            round(float(score**0.25 * iou**0.75), 6)
            for level, values in zip(batch.cls_scores, quality)
            for score, iou in _pairs(level[image].sigmoid(), values[image, 0].sigmoid())
        }
        assert found <= expected | {round(value + 1e-6, 6) for value in expected} | {
            round(value - 1e-6, 6) for value in expected
        }


def _pairs(scores: Tensor, quality: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Class scores above the threshold with the quality at their location."""
    label, row, column = (scores > 0.05).nonzero(as_tuple=True)
    return list(zip(scores[label, row, column], quality[row, column]))


def test_a_score_that_ignores_the_quality_is_the_class_score() -> None:
    head = _iou_aware(1.0)
    batch = random_batch(Recipe(same_size=True))
    quality = [torch.randn(2, 1, *level.shape[-2:]) for level in batch.cls_scores]
    own = head.predict_by_feat(batch.cls_scores, batch.bbox_preds, quality, batch_img_metas=batch.img_metas)
    plain = our_head().predict_by_feat(batch.cls_scores, batch.bbox_preds, batch_img_metas=batch.img_metas)
    for one, other in zip(plain, own):
        assert torch.equal(one.bboxes, other.bboxes) and torch.equal(one.scores, other.scores)


def test_a_users_own_coder() -> None:
    """Its sides are learned, and a detection's sides are its distances from the location in strides."""
    head = our_head(bbox_coder=dict(type="gfl_plugin.SoftplusBBoxCoder"), reg_max=None, loss_dfl=None)
    history = _trained(head)
    assert set(history[0]) == {"loss_cls", "loss_bbox"} and history[-1]["loss_bbox"] < history[0]["loss_bbox"]

    batch = random_batch(Recipe(same_size=True))
    raw = [torch.randn(2, 4, *level.shape[-2:]) for level in batch.cls_scores]
    found = head.predict_by_feat(batch.cls_scores, raw, batch_img_metas=batch.img_metas, with_nms=False)
    for image, instances in enumerate(found):
        assert len(instances) > 20
        expected = {
            round(float(width), 3)
            for level, stride in zip(raw, (8, 16, 32))
            for width in (level[image, 0].exp().log1p() + level[image, 2].exp().log1p()).flatten() * stride
        }
        inside = instances.bboxes[(instances.bboxes[:, 0] > 0) & (instances.bboxes[:, 2] < 192)]
        widths = {round(float(width), 3) for width in inside[:, 2] - inside[:, 0]}
        assert len(widths) > 5
        assert all(min(abs(width - other) for other in expected) < 2e-3 for width in widths)


def test_a_users_own_head() -> None:
    """One tower has half the weights of two, and is learned with the losses of GFLHead, also with another quality."""
    plain, own = our_head(), our_head(type="gfl_plugin.OneTowerHead")
    towers = {"cls_convs", "reg_convs"}
    of_towers, of_tower = (
        sum(value.numel() for name, value in head.named_parameters() if name.split(".")[0] in towers)
        for head in (plain, own)
    )
    assert of_towers == 2 * of_tower > 0
    for head in (own, our_head(type="gfl_plugin.OneTowerHead", quality=dict(type="DistributionGuidedQuality"))):
        history = _trained(head)
        assert set(history[0]) == {"loss_cls", "loss_bbox", "loss_dfl"}
        assert all(history[-1][name] < history[0][name] for name in ("loss_cls", "loss_bbox"))
