"""Heads of other families with the joint score: QFL equals its formula, the rest equals MMDetection."""

from __future__ import annotations

import pytest
import torch
from cases import Recipe, build_head, head_config, random_batch, record
from mmdet.models.losses import QualityFocalLoss
from mmdet.structures.bbox import bbox_overlaps
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

COMMON = dict(num_classes=7, in_channels=8, test_cfg=head_config()["test_cfg"])
ASSIGNER = dict(type="MaxIoUAssigner", pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0, ignore_iof_thr=-1)
ANCHORS = dict(allowed_border=-1, pos_weight=-1, assigner=ASSIGNER, debug=False)
HEADS = {
    "Retina": dict(
        stacked_convs=1,
        feat_channels=8,
        anchor_generator=dict(
            type="AnchorGenerator", octave_base_scale=4, scales_per_octave=3, ratios=[0.5, 1, 2], strides=[8, 16, 32]
        ),
        bbox_coder=dict(type="DeltaXYWHBBoxCoder"),
        loss_bbox=dict(type="L1Loss"),
        train_cfg=ANCHORS,
    ),
    "SSD": dict(
        in_channels=(8, 8, 8),
        anchor_generator=dict(
            type="SSDAnchorGenerator",
            scale_major=False,
            strides=[8, 16, 32],
            ratios=[[2], [2, 3], [2]],
            min_sizes=[16, 40, 90],
            max_sizes=[40, 90, 160],
        ),
        bbox_coder=dict(type="DeltaXYWHBBoxCoder", target_stds=[0.1, 0.1, 0.2, 0.2]),
        train_cfg=dict(smoothl1_beta=1.0, neg_pos_ratio=3, **{**ANCHORS, "assigner": {**ASSIGNER, "neg_iou_thr": 0.5}}),
    ),
    "Fovea": dict(
        stacked_convs=1,
        feat_channels=8,
        strides=[8, 16, 32],
        base_edge_list=[16, 32, 64],
        scale_ranges=((1, 64), (32, 128), (64, 512)),
        loss_bbox=dict(type="SmoothL1Loss", beta=0.11),
    ),
    "FCOS": dict(
        stacked_convs=1,
        feat_channels=8,
        strides=[8, 16, 32],
        regress_ranges=((-1, 64), (64, 128), (128, 1e8)),
        norm_cfg=dict(type="GN", num_groups=2),
        loss_bbox=dict(type="GIoULoss"),
    ),
}


def both(family: str) -> tuple:
    """MMDetection's head and ours, with the same settings."""
    config = {**COMMON, **HEADS[family]}
    return build_head(dict(type=f"{family}Head", **config)), build_head(
        dict(type=f"gfl_plugin.{family}QFLHead", **config)
    )


def outputs_of(head, batch) -> tuple:
    torch.manual_seed(0)
    features = [torch.randn(len(level), 8, *level.shape[-2:]) for level in batch.cls_scores]
    return head(features)


@pytest.mark.parametrize("family", list(HEADS))
def test_box_loss_is_mmdetections_and_class_loss_is_qfl_of_the_decoded_boxes(family: str) -> None:
    theirs, ours = both(family)
    ours.init_weights()
    batch = random_batch(Recipe(same_size=True, objects=(6, 4)))
    outputs = outputs_of(ours, batch)
    seen = {}

    def spy(pred, target, weight=None, avg_factor=None, reduction_override=None):
        seen.setdefault("calls", []).append((pred.detach(), *target, weight, avg_factor))
        return inner(pred, target, weight, avg_factor, reduction_override)

    inner = ours.loss_cls.loss.forward
    ours.loss_cls.loss.forward = spy
    losses = ours.loss_by_feat(*outputs, batch.gt_instances, batch.img_metas)
    # The box loss does not depend on the class scores, which have another number of channels there.
    other = [
        level.new_zeros(len(level), level.shape[1] // 7 * theirs.cls_out_channels, *level.shape[-2:])
        for level in outputs[0]
    ]
    extra = [[level.new_zeros(len(level), 1, *level.shape[-2:]) for level in other]] if family == "FCOS" else []
    expected = theirs.loss_by_feat(other, outputs[1], *extra, batch.gt_instances, batch.img_metas)
    found = torch.stack([torch.as_tensor(v) for v in _list(losses["loss_bbox"])])
    assert torch.allclose(found, torch.stack([torch.as_tensor(v) for v in _list(expected["loss_bbox"])]))
    assert set(losses) == {"loss_cls", "loss_bbox"}

    labels = torch.cat([call[1] for call in seen["calls"]])
    quality = torch.cat([call[2] for call in seen["calls"]])
    positive = labels < 7
    assert 5 < int(positive.sum()) < len(labels) and not quality[~positive].any()
    assert torch.allclose(quality[positive].sort().values, true_quality(ours, outputs, batch).sort().values, atol=1e-4)
    total = sum(
        QualityFocalLoss()(pred, (label, own), weight=weight, avg_factor=factor)
        for pred, label, own, weight, factor in seen["calls"]
    )
    difference = abs(float(sum(_list(losses["loss_cls"])) / total) - 1)
    assert record(f"QFL in {family}: class loss, relative", difference) < 1e-5


def _list(value) -> list:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def true_quality(head, outputs, batch) -> torch.Tensor:
    """IoU of each positive's predicted box with its object; boxes are decoded as in prediction.

    The object is the one of the assignment, or the box that the positive's encoded target decodes to.
    """
    kept = []
    sizes = [level.shape[-2:] for level in outputs[0]]
    for image, truth in enumerate(batch.gt_instances):
        boxes, numbers = [], []
        if hasattr(head, "reg_decoded_bbox"):
            anchors = torch.cat(head.prior_generator.grid_priors(sizes, device="cpu"))
            raw = torch.cat([level[image].permute(1, 2, 0).reshape(-1, 4) for level in outputs[1]])
            decoded = head.bbox_coder.decode(anchors, raw.detach())
            result = head.assigner.assign(InstanceData(priors=anchors), truth)
            boxes, numbers = decoded[result.gt_inds > 0], result.gt_inds[result.gt_inds > 0] - 1
        else:
            points = head.prior_generator.grid_priors(sizes, device="cpu")
            labels, targets = per_image_targets(head, points, truth, sizes)
            raw = [level[image].permute(1, 2, 0).reshape(-1, 4).detach() for level in outputs[1]]
            found, true = [], []
            for number, (point, own, label, target) in enumerate(zip(points, raw, labels, targets)):
                rows = label.flatten() < 7
                point, own, target = point[rows], own[rows], target.reshape(-1, 4)[rows]
                if hasattr(head, "base_edge_list"):
                    own, target = own.exp() * head.base_edge_list[number], target.exp() * head.base_edge_list[number]
                found.append(torch.cat([point - own[:, :2], point + own[:, 2:]], 1))
                true.append(torch.cat([point - target[:, :2], point + target[:, 2:]], 1))
            kept.append(bbox_overlaps(torch.cat(found), torch.cat(true), is_aligned=True))
            continue
        kept.append(bbox_overlaps(boxes, truth.bboxes[numbers], is_aligned=True))
    return torch.cat(kept)


def per_image_targets(head, points, truth, sizes) -> tuple:
    parent = type(head).__mro__[3]  # MMDetection's head, after the mix-ins
    if hasattr(head, "base_edge_list"):
        return parent._get_targets_single(head, truth, sizes, points)
    return parent.get_targets(head, points, [truth])


@pytest.mark.parametrize("family", list(HEADS))
def test_predicts_and_trains(family: str) -> None:
    """Gradient descent decreases the losses, and the score of a detection is the class score."""
    head = both(family)[1]
    head.init_weights()
    batch = random_batch(Recipe(same_size=True, objects=(6, 4)))
    torch.manual_seed(0)
    features = [torch.randn(len(level), 8, *level.shape[-2:]) for level in batch.cls_scores]
    optimizer = torch.optim.SGD(head.parameters(), lr=1e-2)
    totals = []
    for _ in range(12):
        losses = head.loss_by_feat(*head(features), batch.gt_instances, batch.img_metas)
        total = sum(sum(_list(value)) for value in losses.values())
        totals.append(float(total.detach()))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    assert totals[-1] < totals[0]
    head.eval()
    outputs = head(features)
    assert len(outputs) == 2
    cfg = dict(COMMON["test_cfg"], score_thr=0.0, nms_pre=50)
    found = head.predict_by_feat(*outputs, batch_img_metas=batch.img_metas, cfg=ConfigDict(cfg))
    best = max(float(level.sigmoid().max()) for level in outputs[0])
    assert abs(max(float(one.scores.max()) for one in found) - best) < 1e-6


@pytest.mark.parametrize("option", ["with_uncertainty", "with_distributions", "intervals"])
@pytest.mark.parametrize("family", list(HEADS))
def test_uncertainty_that_the_head_does_not_have_is_an_error(family: str, option: str) -> None:
    """MMDetection's prediction would ignore the setting, and results would lack the field."""
    config = {**COMMON, **HEADS[family], "test_cfg": ConfigDict({**COMMON["test_cfg"], option: True})}
    with pytest.raises(ValueError, match=f"test_cfg.{option} is set, but a {family}QFLHead predicts one number"):
        build_head(dict(type=f"gfl_plugin.{family}QFLHead", **config))


@pytest.mark.parametrize("family", list(HEADS))
def test_another_class_loss_is_an_error(family: str) -> None:
    config = {**COMMON, **HEADS[family], "loss_cls": dict(type="FocalLoss", use_sigmoid=True)}
    with pytest.raises(ValueError, match=f"FocalLoss.*{family}QFLHead needs.*QualityFocalLoss"):
        build_head(dict(type=f"gfl_plugin.{family}QFLHead", **config))


@pytest.mark.parametrize("family", ["Retina", "Fovea", "FCOS"])
def test_qfl_in_mmdetections_heads_is_an_error_that_names_the_right_head(family: str) -> None:
    """These heads pass only labels to their class loss."""
    loss = dict(type="gfl_plugin.QualityFocalLoss", use_sigmoid=True)
    head = build_head(dict(type=f"{family}Head", **{**COMMON, **HEADS[family], "loss_cls": loss}))
    batch = random_batch(Recipe(same_size=True, objects=(6, 4)))
    with pytest.raises(ValueError, match=f"labels alone, but this loss needs the quality.*gfl_plugin.*{family}QFLHead"):
        head.loss_by_feat(*outputs_of(head, batch), batch.gt_instances, batch.img_metas)


def test_qfl_in_a_head_of_mmdetection_that_passes_a_quality() -> None:
    """Loss and gradient of RTMDet's head equal those with MMDetection's QFL."""
    totals, gradients = [], []
    for scope in ("gfl_plugin", "mmdet"):
        torch.manual_seed(0)
        head = build_head(
            dict(
                type="RTMDetHead",
                stacked_convs=1,
                feat_channels=8,
                anchor_generator=dict(type="MlvlPointGenerator", offset=0, strides=[8, 16, 32]),
                bbox_coder=dict(type="DistancePointBBoxCoder"),
                loss_cls=dict(type=f"{scope}.QualityFocalLoss", use_sigmoid=True, beta=2.0),
                loss_bbox=dict(type="GIoULoss", loss_weight=2.0),
                norm_cfg=dict(type="BN"),
                train_cfg=dict(
                    assigner=dict(type="DynamicSoftLabelAssigner", topk=13), allowed_border=-1, pos_weight=-1
                ),
                **COMMON,
            )
        )
        batch = random_batch(Recipe(same_size=True, objects=(6, 4)))
        losses = head.loss_by_feat(*outputs_of(head, batch), batch.gt_instances, batch.img_metas)
        total = sum(map(sum, losses.values()))
        total.backward()
        totals.append(float(total.detach()))
        gradients.append(head.rtm_cls.weight.grad.clone())
    assert totals[0] == pytest.approx(totals[1], rel=1e-6)
    assert float((gradients[0] - gradients[1]).abs().max() / gradients[1].abs().max()) < 1e-5
