"""Test-time augmentation: MMDetection's detections, each with the fields of the augmentation that it comes from."""

from __future__ import annotations

import copy

import pytest
import torch
from cases import boxes_of_distributions
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox_flip
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from runs import model_config
from torch import Tensor, nn

import gfl_plugin  # noqa: F401

OURS = "gfl_plugin.DetTTAModel"

WIDTH, HEIGHT = 120, 90
SIDES = {"horizontal": [2, 1, 0, 3], "vertical": [0, 3, 2, 1], "diagonal": [2, 3, 0, 1]}
BOTH = dict(with_uncertainty=True, with_distributions=True)
BOTH_FIELDS = ("bbox_std", "bbox_distributions")


class Detector(nn.Module):
    """Stands for a detector; only its results are merged."""

    def test_step(self, data: object) -> object:
        return data


def tta_model(name: str, module: nn.Module, **nms: object) -> nn.Module:
    config = dict(nms={"type": "nms", "iou_threshold": 0.5, **nms}, max_per_img=15)
    return MODELS.build(ConfigDict(type=name, tta_cfg=config, module=module))


def view(count: int, direction: str | None) -> DetDataSample:
    """Random detections of an augmentation; their further fields are functions of the score and of the side."""
    corner = torch.rand(count, 2) * 40
    boxes = torch.cat([corner, corner + 20 + torch.rand(count, 2) * 30], dim=1)
    scores = torch.rand(count)
    # Left, top, right, bottom of the image that is not flipped have the factors 1, 2, 3, 4.
    factors = torch.tensor([1.0, 2.0, 3.0, 4.0])[SIDES[direction] if direction else slice(None)]
    std = scores[:, None] * factors
    found = InstanceData(
        bboxes=boxes,
        scores=scores,
        labels=torch.randint(0, 2, (count,)),
        bbox_std=std,
        bbox_distributions=std[:, :, None] * torch.tensor([1.0, 10.0, 100.0]),
        bbox_inner=boxes + std * torch.tensor([1.0, 1, -1, -1]),
        bbox_outer=boxes + std * torch.tensor([-1.0, -1, 1, 1]),
        own=scores * 7,
    )
    meta = dict(ori_shape=(HEIGHT, WIDTH), flip=direction is not None, flip_direction=direction)
    return DetDataSample(metainfo=meta, pred_instances=found)


def views(counts: tuple[int, ...] = (20, 20, 20, 20)) -> list[DetDataSample]:
    return [view(count, direction) for count, direction in zip(counts, (None, *SIDES))]


@pytest.mark.parametrize("nms", [{}, dict(class_agnostic=True), dict(type="soft_nms")], ids=["nms", "agnostic", "soft"])
@pytest.mark.parametrize("counts", [(20, 20, 20, 20), (0, 3, 0, 1), (0, 0, 0, 0)], ids=["many", "few", "none"])
def test_detections_are_mmdetections(nms: dict, counts: tuple[int, ...]) -> None:
    batch = [views(counts), views()]
    theirs = tta_model("mmengine.DetTTAModel", Detector(), **nms).merge_preds(copy.deepcopy(batch))
    ours = tta_model(OURS, Detector(), **nms).merge_preds(batch)
    for one, other in zip(theirs, ours, strict=True):
        assert len(one.pred_instances) == len(other.pred_instances)
        for name in ("bboxes", "scores", "labels"):
            assert torch.equal(one.pred_instances[name], other.pred_instances[name]), name
        assert one.metainfo == other.metainfo


def test_each_detection_keeps_its_own_fields_in_the_order_of_the_plain_image() -> None:
    batch = [views() for _ in range(3)]
    for sample in tta_model(OURS, Detector()).merge_preds(batch):
        found = sample.pred_instances
        assert len(found) == 15
        expected = found.scores[:, None] * torch.tensor([1.0, 2.0, 3.0, 4.0])
        assert torch.equal(found.bbox_std, expected)
        assert torch.equal(found.bbox_distributions, expected[:, :, None] * torch.tensor([1.0, 10.0, 100.0]))
        assert torch.equal(found.own, found.scores * 7)


def test_intervals_are_those_of_the_plain_image() -> None:
    """Left, top, right and bottom of a merged box have their own margins, whatever the augmentation was flipped by."""
    for sample in tta_model(OURS, Detector()).merge_preds([views() for _ in range(3)]):
        found = sample.pred_instances
        outward = found.bbox_std * torch.tensor([-1.0, -1, 1, 1])
        assert torch.allclose(found.bbox_outer, found.bboxes + outward, atol=1e-4)
        assert torch.allclose(found.bbox_inner, found.bboxes - outward, atol=1e-4)


def detector() -> nn.Module:
    """The demo's small detector with random weights, many detections, and the fields about box sides."""
    config = model_config()
    config["bbox_head"]["bbox_coder"] = dict(type="gfl_plugin.IntegralBBoxCoder", clip_border=False)  # not all equal
    config["test_cfg"] = dict(config["test_cfg"], score_thr=1e-6, **BOTH)
    return MODELS.build(ConfigDict(config)).eval()


def step_data(model: nn.Module, images: list[Tensor], metas: list[dict]) -> dict[str, list]:
    """Input of ``test_step``: one image in several augmentations."""
    return dict(inputs=[[image] for image in images], data_samples=[[DetDataSample(metainfo=meta)] for meta in metas])


def test_a_detector_with_flips_and_scales() -> None:
    """Detections that are told to be those of a flipped image are flipped with their fields, and then merged."""
    torch.manual_seed(0)
    model = detector()
    image = torch.rand(3, 64, 64) * 255
    meta = dict(img_shape=(64, 64), ori_shape=(32, 64), scale_factor=(1.0, 2.0), flip=False, flip_direction=None)
    flipped = {**meta, "flip": True, "flip_direction": "horizontal"}
    tta = tta_model(OURS, model, iou_threshold=0.99)
    with torch.no_grad():
        (plain,) = tta.test_step(step_data(model, [image], [meta]))
        (mirrored,) = tta.test_step(step_data(model, [image], [flipped]))
    one, other = plain.pred_instances, mirrored.pred_instances
    assert len(one) == len(other) > 5 and set(BOTH_FIELDS) <= set(one.keys())
    assert torch.equal(one.scores, other.scores)
    assert torch.equal(bbox_flip(one.bboxes, (32, 64), "horizontal"), other.bboxes)
    for name in BOTH_FIELDS:
        assert torch.equal(one[name], other[name][:, SIDES["horizontal"]]), name
    with torch.no_grad():
        (both,) = tta.test_step(step_data(model, [image, image], [meta, flipped]))
    rows, *known = (torch.cat([own.bboxes, own.bbox_std], dim=1) for own in (both.pred_instances, one, other))
    from_one, from_other = ((rows[:, None] == own).all(dim=2).any(dim=1) for own in known)
    assert from_one.any() and from_other.any() and (from_one | from_other).all()


def test_boxes_are_those_of_their_distributions_after_flips_and_scales() -> None:
    """The merged detections of three flips and three sizes keep the points from which their sides are measured."""
    torch.manual_seed(0)
    model = detector()
    height, width = 48, 80  # of the original image
    images, metas = [], []
    for number, (side, direction) in enumerate(((64, None), (96, "horizontal"), (64, "vertical"), (128, "diagonal"))):
        images.append(torch.rand(3, side, side) * 255)
        meta = dict(img_shape=(side, side), ori_shape=(height, width), scale_factor=(side / width, side / height))
        metas.append({**meta, "flip": number > 0, "flip_direction": direction})
    with torch.no_grad():
        (merged,) = tta_model(OURS, model, iou_threshold=0.9).test_step(step_data(model, images, metas))
    found = merged.pred_instances
    assert len({(round(float(x), 3), round(float(y), 3)) for x, y in found.bbox_points[:, 2:]}) >= 4  # several sizes
    assert (boxes_of_distributions(found, model.bbox_head.bbox_coder.bins()) - found.bboxes).abs().max() < 1e-3


def test_masks_are_an_error() -> None:
    batch = [views()]
    for sample in batch[0]:
        sample.pred_instances.masks = torch.zeros(20, 4, 4, dtype=torch.bool)
    with pytest.raises(ValueError, match="DetTTAModel cannot merge"):
        tta_model(OURS, Detector()).merge_preds(batch)
