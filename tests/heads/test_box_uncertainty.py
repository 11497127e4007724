"""Fields about the sides of boxes belong to their box: standard deviations in output pixels, and distributions."""

from __future__ import annotations

import pytest
import torch
from cases import SCOPE, Recipe, boxes_of_distributions, build_head, head_config, our_head, random_batch
from mmdet.structures.bbox import bbox_flip
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from gfl_plugin.structures.side_fields import flipped_fields

BOTH = dict(with_uncertainty=True, with_distributions=True)
GREEDY = dict(type="nms", iou_threshold=0.6)
# The greedy NMS runs for the whole batch at once, the other kinds run in mmcv per image.
KINDS_OF_NMS = (GREEDY, {**GREEDY, "class_agnostic": True}, {**GREEDY, "max_num": 1000}, dict(type="soft_nms"))
GEOMETRIC = dict(type="IntegralBBoxCoder", bins=dict(spacing="geometric", last=64, first_step=1))
HEADS = ({}, dict(quality=dict(type="DistributionGuidedQuality")), dict(type=SCOPE + "LDHead"))
CODERS = (dict(type="IntegralBBoxCoder"), GEOMETRIC, dict(type="GaussianBBoxCoder"))


def maps_for(head, recipe: Recipe) -> tuple[list[Tensor], list[Tensor], list[dict]]:
    """Random class and box maps of a head, and the metadata of the images."""
    batch = random_batch(recipe)
    return batch.cls_scores, [level[:, : head.bbox_coder.encode_size] for level in batch.bbox_preds], batch.img_metas


def head_with(coder: dict, **test_cfg: object):
    """A small head with a box coder and further test settings."""
    return our_head(bbox_coder=dict(coder), loss_dfl="by_coder", test_cfg=test_cfg)


def by_definition(head, scores: list[Tensor], boxes: list[Tensor], shape: tuple[int, int]) -> tuple[Tensor, ...]:
    """In fp64, of all locations of one image: (N, 4) clipped boxes, (N, C) scores, (N, 4) standard deviations in px."""
    found = []
    for stride, score, numbers in zip((8, 16, 32), scores, boxes):
        height, width = score.shape[1:]
        y, x = (index.flatten() * stride for index in torch.meshgrid(torch.arange(height), torch.arange(width)))
        raw = numbers.double().flatten(1).T.unflatten(1, (4, -1))  # (H·W, 4, numbers per side)
        if raw.shape[2] == 2:
            mean, std = raw[..., 0].exp(), raw[..., 1].exp().sqrt()
        else:
            probability, bins = raw.exp() / raw.exp().sum(dim=2, keepdim=True), head.bbox_coder.bins().double()
            mean = (probability * bins).sum(dim=2)
            std = ((probability * bins**2).sum(dim=2) - mean**2).sqrt()
        left, top, right, bottom = (mean * stride).unbind(dim=1)
        corners = torch.stack([x - left, y - top, x + right, y + bottom], dim=1)
        limit = torch.tensor([shape[1], shape[0]] * 2)
        clipped = corners.clamp(min=torch.zeros(4), max=limit)
        found.append((clipped, score.double().flatten(1).T.sigmoid(), std * stride))
    return tuple(torch.cat(parts) for parts in zip(*found))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("coder", CODERS, ids=["uniform", "geometric", "gaussian"])
def test_standard_deviations_are_those_of_the_definition(coder: dict, seed: int) -> None:
    head = head_with(coder, with_uncertainty=True)
    scores, boxes, metas = maps_for(head, Recipe(seed=seed))
    for image, result in enumerate(head.predict_by_feat(scores, boxes, batch_img_metas=metas)):
        assert len(result) > 20
        own = [[level[image] for level in maps] for maps in (scores, boxes)]
        corners, score, std = by_definition(head, *own, metas[image]["img_shape"])
        for box, value, label, found in zip(result.bboxes, result.scores, result.labels, result.bbox_std):
            difference = (corners - box).abs().amax(dim=1) + 1000 * (score[:, label] - value).abs()
            row = int(difference.argmin())
            assert difference[row] < 0.01
            assert torch.allclose(found.double(), std[row], rtol=1e-4)


@pytest.mark.parametrize("with_nms", [True, False])
@pytest.mark.parametrize("coder", CODERS, ids=["uniform", "geometric", "gaussian"])
def test_rescaling_divides_by_the_factors_of_width_and_height(coder: dict, with_nms: bool) -> None:
    head = head_with(coder, with_uncertainty=True, with_distributions="Integral" in coder["type"])
    scores, boxes, metas = maps_for(head, Recipe())
    plain, rescaled = (
        head.predict_by_feat(scores, boxes, batch_img_metas=metas, rescale=rescale, with_nms=with_nms)
        for rescale in (False, True)
    )
    for one, other, meta in zip(plain, rescaled, metas):
        width, height = meta["scale_factor"]
        assert abs(width - height) > 0.01 and torch.equal(one.scores, other.scores)
        assert torch.allclose(one.bbox_std, other.bbox_std * torch.tensor([width, height, width, height]))
        if "bbox_distributions" in one:
            assert torch.equal(one.bbox_distributions, other.bbox_distributions)
            assert torch.allclose(one.bbox_points, other.bbox_points * torch.tensor([width, height, width, height]))


@pytest.mark.parametrize("nms", KINDS_OF_NMS, ids=["greedy", "class_agnostic", "mmcv", "soft"])
@pytest.mark.parametrize("with_nms", [True, False])
def test_fields_stay_with_their_box(nms: dict, with_nms: bool) -> None:
    """Size filter, NMS and the limit per image keep the rows that the detections before them have."""
    # Not clipped, so that no two boxes are equal.
    head = head_with({**CODERS[0], "clip_border": False}, **BOTH, min_bbox_size=60, max_per_img=30)
    head.test_cfg.nms = ConfigDict(nms)
    scores, boxes, metas = maps_for(head, Recipe(same_size=True))
    before = head.decode_best(scores, boxes, None, metas, head.test_cfg)
    results = head.predict_by_feat(scores, boxes, batch_img_metas=metas, with_nms=with_nms)
    assert sum(map(len, results)) < len(before)
    for image, result in enumerate(results):
        assert (len(result) == 30) == with_nms
        for one in range(0, len(result), 1 if with_nms else 10):
            same = (before.boxes == result.bboxes[one]).all(dim=1) & (before.labels == result.labels[one])
            (row,) = (same & (before.image == image)).nonzero().flatten().tolist()
            assert torch.equal(result.bbox_std[one], before.extra["bbox_std"][row])
            assert torch.equal(result.bbox_distributions[one], before.extra["bbox_distributions"][row])
            assert torch.equal(result.bbox_points[one], before.extra["bbox_points"][row])


@pytest.mark.parametrize("coder", CODERS[:2], ids=["uniform", "geometric"])
@pytest.mark.parametrize("nms", KINDS_OF_NMS, ids=["greedy", "class_agnostic", "mmcv", "soft"])
@pytest.mark.parametrize("rescale", [True, False])
def test_distributions_and_points_give_the_boxes(coder: dict, nms: dict, rescale: bool) -> None:
    """The bins lie where the points say, in pixels of the same image as the boxes, also after a flip of that image."""
    head = head_with({**coder, "clip_border": False}, with_distributions=True)
    head.test_cfg.nms = ConfigDict(nms)
    scores, boxes, metas = maps_for(head, Recipe())
    bins = head.bbox_coder.bins()
    for found, meta in zip(head.predict_by_feat(scores, boxes, batch_img_metas=metas, rescale=rescale), metas):
        assert len(found) > 20 and (found.bbox_points[:, 2:] > 0).all()
        assert (boxes_of_distributions(found, bins) - found.bboxes).abs().max() < 1e-3
        for direction in ("horizontal", "vertical", "diagonal"):
            other = InstanceData(**flipped_fields(dict(found.items()), direction, meta["img_shape"]))
            flipped = bbox_flip(found.bboxes, meta["img_shape"], direction)
            assert (boxes_of_distributions(other, bins) - flipped).abs().max() < 1e-3


def test_the_order_of_images_does_not_matter() -> None:
    head = head_with(CODERS[0], **BOTH)
    scores, boxes, metas = maps_for(head, Recipe(images=3, objects=(1, 1, 1)))
    order = [2, 0, 1]
    plain = head.predict_by_feat(scores, boxes, batch_img_metas=metas, rescale=True)
    moved = head.predict_by_feat(
        [level[order] for level in scores],
        [level[order] for level in boxes],
        batch_img_metas=[metas[image] for image in order],
        rescale=True,
    )
    for image, result in zip(order, moved):
        assert_equal(plain[image], result)


def assert_equal(one: InstanceData, other: InstanceData) -> None:
    assert set(one.keys()) == set(other.keys())
    for name, values in one.items():
        assert torch.equal(values, other[name]), name


@pytest.mark.parametrize("direction", ["horizontal", "vertical", "diagonal"])
def test_predicting_mirrored_maps_swaps_the_sides(direction: str) -> None:
    head = our_head(anchor_generator=dict(center_offset=0.5), test_cfg=BOTH)
    scores, boxes, metas = maps_for(head, Recipe(same_size=True))
    axes = {"horizontal": [3], "vertical": [2], "diagonal": [2, 3]}[direction]
    sides = {"horizontal": [2, 1, 0, 3], "vertical": [0, 3, 2, 1], "diagonal": [2, 3, 0, 1]}[direction]
    mirrored = [level.unflatten(1, (4, -1))[:, sides].flatten(1, 2).flip(axes) for level in boxes]
    plain = head.predict_by_feat(scores, boxes, batch_img_metas=metas)
    other = head.predict_by_feat([level.flip(axes) for level in scores], mirrored, batch_img_metas=metas)
    for one, two in zip(plain, other):
        assert len(one) > 20 and torch.equal(one.scores, two.scores)
        assert torch.equal(one.bbox_std, two.bbox_std[:, sides])
        assert torch.equal(one.bbox_distributions, two.bbox_distributions[:, sides])
        back = flipped_fields(dict(two.items()), direction, metas[0]["img_shape"])
        assert torch.equal(back["bbox_std"], one.bbox_std) and torch.equal(back["labels"], one.labels)


@pytest.mark.parametrize("changes", HEADS, ids=["gfl", "gflv2", "ld"])
@pytest.mark.parametrize("rescale", [True, False])
def test_other_results_are_unchanged(changes: dict, rescale: bool) -> None:
    """For GFL, GFLV2 and a student: boxes, scores and labels are the same bits, and by default no field is added."""
    head = build_head(head_config(**{"type": SCOPE + "GFLHead", **changes})).eval()
    scores, boxes, metas = maps_for(head, Recipe())
    features = [torch.randn(2, 8, *level.shape[2:]) for level in scores]
    with torch.no_grad():
        head.gfl_cls.bias.fill_(0.5)
        outputs = head(features)
    plain = head.predict_by_feat(*outputs, batch_img_metas=metas, rescale=rescale)
    settings = ConfigDict({**head.test_cfg, **BOTH})
    other = head.predict_by_feat(*outputs, batch_img_metas=metas, rescale=rescale, cfg=settings)
    for one, two in zip(plain, other):
        assert set(one.keys()) == {"bboxes", "scores", "labels"}
        assert set(two.keys()) == {*one.keys(), "bbox_std", "bbox_distributions", "bbox_points"}
        assert len(one) > 20 and all(torch.equal(values, two[name]) for name, values in one.items())
        assert torch.allclose(two.bbox_distributions.sum(dim=2), torch.ones(len(two), 4))


def test_images_without_detections_have_empty_fields() -> None:
    head = head_with(CODERS[0], **BOTH)
    scores, boxes, metas = maps_for(head, Recipe())
    for level in scores:
        level[0] = -20
    nothing, found = head.predict_by_feat(scores, boxes, batch_img_metas=metas, rescale=True)
    assert nothing.bbox_std.shape == nothing.bbox_points.shape == (0, 4) and len(found) > 20
    assert nothing.bbox_distributions.shape == (0, 4, 17)


@pytest.mark.parametrize(
    ("coder", "option", "named"),
    [
        ("DiracBBoxCoder", "with_uncertainty", "(GaussianBBoxCoder, IntegralBBoxCoder)"),
        ("DiracBBoxCoder", "with_distributions", "(IntegralBBoxCoder)"),
        ("GaussianBBoxCoder", "with_distributions", "(IntegralBBoxCoder)"),
    ],
)
def test_a_field_that_the_coder_does_not_have_is_an_error(coder: str, option: str, named: str) -> None:
    """It is raised when the head is built, and names the coders that have the field."""
    with pytest.raises(ValueError) as raised:
        head_with(dict(type=coder), **{option: True})
    message = str(raised.value)
    assert f"test_cfg.{option}=True" in message and coder in message and named in message
    head = head_with(dict(type=coder), **{option: False})
    scores, boxes, metas = maps_for(head, Recipe())
    with pytest.raises(ValueError, match=option):  # also in settings of one call
        head.predict_by_feat(scores, boxes, batch_img_metas=metas, cfg={**head.test_cfg, option: True})


def test_an_option_that_is_not_a_bool_is_an_error() -> None:
    with pytest.raises(ValueError, match="test_cfg.with_uncertainty is 'std'; it must be True or False"):
        head_with(CODERS[0], with_uncertainty="std")
