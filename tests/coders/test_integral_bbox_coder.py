"""The coder: integral and standard deviation, encoding and decoding, and use in MMDetection's heads."""

from __future__ import annotations

import pytest
import torch
from cases import build_head, random_boxes
from mmdet.models.dense_heads.gfl_head import Integral
from mmdet.models.task_modules.coders import DistancePointBBoxCoder
from mmengine.structures import InstanceData

from gfl_plugin.coders import IntegralBBoxCoder


def two_bins(coder: IntegralBBoxCoder, distance: torch.Tensor) -> torch.Tensor:
    """(N, 4) distances -> logits of distributions on two neighboring bins whose integrals are the distances."""
    position = coder.position(distance, eps=1e-4)
    left = position.floor()
    probability = torch.full((*distance.shape, coder.reg_max + 1), 1e-12)
    probability.scatter_(-1, left.long()[..., None], (1 - (position - left))[..., None].clamp(min=1e-12))
    probability.scatter_(-1, left.long()[..., None] + 1, (position - left)[..., None].clamp(min=1e-12))
    return probability.log().flatten(-2)


@pytest.mark.parametrize(("first", "n", "step"), [(0.0, 16, 1.0), (-2.0, 10, 2.0), (0.5, 32, 0.5)])
@pytest.mark.parametrize("stride", [1.0, 8.0])
def test_decode_inverts_encode(first: float, n: int, step: float, stride: float) -> None:
    coder = IntegralBBoxCoder(reg_max=n, first=first, step=step)
    points = 100 * torch.rand(30, 2)
    distance = first + n * step * 0.98 * torch.rand(30, 4)
    boxes = torch.cat([points - stride * distance[:, :2], points + stride * distance[:, 2:]], dim=1)
    encoded = coder.encode(points, boxes, stride=stride)
    assert torch.allclose(encoded, distance, atol=1e-4)
    assert torch.allclose(coder.decode(points, encoded, stride=stride), boxes, atol=1e-3)
    assert torch.allclose(coder.decode(points, two_bins(coder, encoded), stride=stride), boxes, atol=2e-2)


def test_each_row_may_have_its_own_stride() -> None:
    coder = IntegralBBoxCoder()
    points, distance, stride = torch.zeros(2, 2), torch.ones(2, 4), torch.tensor([8.0, 16.0])
    expected = torch.tensor([[-8.0, -8.0, 8.0, 8.0], [-16.0, -16.0, 16.0, 16.0]])
    assert torch.equal(coder.decode(points, distance, stride=stride), expected)
    assert torch.equal(coder.encode(points, expected, stride=stride), distance)


def test_integral_equals_mmdetections() -> None:
    logits = 3 * torch.randn(50, 68)
    assert torch.allclose(IntegralBBoxCoder().integral(logits), Integral(16)(logits), atol=1e-5)


def test_integral_stays_fp32_under_autocast() -> None:
    logits = 3 * torch.randn(50, 68)
    expected = IntegralBBoxCoder().integral(logits)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(IntegralBBoxCoder().integral(logits), expected)


def test_standard_deviation() -> None:
    coder = IntegralBBoxCoder(reg_max=4, first=1.0, step=2.0)
    even = torch.zeros(1, 20)
    sharp = torch.full((1, 4, 5), -80.0)
    sharp[..., 3] = 0.0
    # Of five bins 1, 3, 5, 7, 9, equally likely: mean 5, variance (16 + 4 + 0 + 4 + 16) / 5 = 8.
    assert torch.allclose(coder.std(even), torch.full((1, 4), 8.0).sqrt())
    assert torch.allclose(coder.integral(even), torch.full((1, 4), 5.0))
    assert torch.allclose(coder.std(sharp.flatten(1)), torch.zeros(1, 4))


def test_distances_are_coded_as_by_mmdetections_coder() -> None:
    ours, theirs = IntegralBBoxCoder(), DistancePointBBoxCoder()
    points, boxes = 100 * torch.rand(20, 2), random_boxes(20, 100, 100)
    assert torch.equal(ours.encode(points, boxes, 16, 0.1), theirs.encode(points, boxes, 16, 0.1))
    distance = theirs.encode(points, boxes)
    assert torch.equal(ours.decode(points, distance, (90, 80)), theirs.decode(points, distance, (90, 80)))
    assert torch.equal(ours.decode(points[None], distance[None]), theirs.decode(points[None], distance[None]))


def test_clip_border_and_box_type() -> None:
    points, distance = torch.zeros(1, 2), torch.full((1, 4), 5.0)
    assert torch.equal(IntegralBBoxCoder().decode(points, distance, (3, 4)), torch.tensor([[0.0, 0.0, 4.0, 3.0]]))
    unclipped = IntegralBBoxCoder(clip_border=False, use_box_type=True).decode(points, distance, (3, 4))
    assert torch.equal(unclipped.tensor, torch.tensor([[-5.0, -5.0, 5.0, 5.0]]))


def test_as_coder_of_a_retina_head() -> None:
    """MMDetection's anchor head trains and predicts with the coder: gradients are not 0, and boxes lie in the image."""
    head = build_head(
        dict(
            type="RetinaHead",
            num_classes=3,
            in_channels=8,
            feat_channels=8,
            stacked_convs=1,
            reg_decoded_bbox=True,
            anchor_generator=dict(
                type="AnchorGenerator",
                octave_base_scale=4,
                scales_per_octave=3,
                ratios=[0.5, 1.0, 2.0],
                strides=[8, 16],
            ),
            bbox_coder=dict(type="gfl_plugin.IntegralBBoxCoder", reg_max=8),
            loss_cls=dict(type="FocalLoss", use_sigmoid=True),
            loss_bbox=dict(type="GIoULoss"),
            train_cfg=dict(
                assigner=dict(type="MaxIoUAssigner", pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0),
                allowed_border=-1,
                pos_weight=-1,
            ),
            test_cfg=dict(nms_pre=100, score_thr=0.0, nms=dict(type="nms", iou_threshold=0.5), max_per_img=10),
        )
    )
    features = tuple(torch.randn(1, 8, size, size) for size in (8, 4))
    metas = [dict(img_shape=(64, 64), pad_shape=(64, 64), scale_factor=(1.0, 1.0))]
    truths = [InstanceData(bboxes=torch.tensor([[10.0, 12.0, 44.0, 50.0]]), labels=torch.tensor([1]))]
    outputs = head(features)
    losses = head.loss_by_feat(*outputs, truths, metas)
    assert sum(losses["loss_bbox"]) > 0
    sum(sum(part) for part in losses.values()).backward()
    assert head.retina_reg.weight.grad.abs().sum() > 0
    found = head.predict_by_feat(*outputs, batch_img_metas=metas)[0]
    # Untrained sides are near the middle bin: 4 strides of an anchor 4 to 6.3 strides wide.
    sides = found.bboxes[:, 2:] - found.bboxes[:, :2]
    assert len(found) == 10 and (sides > 0).all() and (found.bboxes <= 64).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(reg_max=0), "reg_max is 0"),
        (dict(reg_max=2.5), "reg_max is 2.5; it must be a whole number"),
        (dict(step=0.0), "step is 0.0"),
        (dict(prior_scale=-8.0), "prior_scale is -8.0"),
    ],
)
def test_wrong_settings(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IntegralBBoxCoder(**changes)


def test_wrong_shapes() -> None:
    coder = IntegralBBoxCoder()
    with pytest.raises(ValueError, match=r"last dimension of the logits is 67.*= 68"):
        coder.decode(torch.zeros(2, 2), torch.zeros(2, 67))
    with pytest.raises(ValueError, match="last dimension must be 2"):
        coder.decode(torch.zeros(2, 3), torch.zeros(2, 4))
