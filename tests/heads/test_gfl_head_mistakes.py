"""Invalid configs, batches and checkpoints raise a clear error, or are handled."""

from __future__ import annotations

import pytest
import torch
from cases import Recipe, head_config, losses_and_gradients, our_head, random_batch
from mmengine.runner.checkpoint import load_state_dict
from mmengine.structures import InstanceData

QFL_HINT = r"loss_cls=dict\(type='gfl_plugin.QualityFocalLoss'"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(loss_cls=dict(type="FocalLoss", beta=None)),
         rf"loss_cls is a mmdet\.models\.losses\.focal_loss\.FocalLoss, which takes no quality; .*{QFL_HINT}"),
        (dict(loss_cls=dict(type="mmdet.QualityFocalLoss")),
         rf"is a mmdet\.models\.losses\.gfocal_loss\.QualityFocalLoss, which takes the quality of every.*{QFL_HINT}"),
        (dict(loss_cls=dict(use_sigmoid=False)), "use_sigmoid=False.*write use_sigmoid=True"),
        (dict(loss_cls=dict(activated=True)), "activated=True.*gives it logits"),
        (dict(loss_cls=dict(beta=-1)), "beta is -1.*finite number >= 0"),
        (dict(loss_cls=dict(reduction="average")), "reduction is 'average'.*'none', 'mean', 'sum'"),
        (dict(reg_max=16, bbox_coder=dict(type="IntegralBBoxCoder", reg_max=8)), "reg_max is 16 in bbox_head and 8"),
        (dict(reg_max=0), "reg_max is 0; it must be a whole number >= 1"),
        (dict(bbox_coder=dict(type="DeltaXYWHBBoxCoder")), "DeltaXYWHBBoxCoder.*IntegralBBoxCoder"),
        (dict(loss_bbox=dict(type="L1Loss")), r"loss_bbox is a L1Loss.*GIoULoss"),
        (dict(loss_dfl=dict(first=1.0)), "bins belong to bbox_coder"),
        (dict(anchor_generator=dict(ratios=[0.5, 1.0, 2.0])), r"makes \[3, 3, 3\] priors.*ratios=\[1.0\]"),
        (dict(anchor_generator=dict(scales_per_octave=3)), r"makes \[3, 3, 3\] priors"),
        (dict(train_cfg=dict(assigner=dict(type="HungarianAssigner", topk=None, match_costs=[dict(type="IoUCost")]))),
         "assigner is a HungarianAssigner.*gfl_plugin.ATSSAssigner"),
        (dict(quality=dict(type="NoQuality")), r"gfl_plugin\.losses\.\w+\.QualityFocalLoss, which needs a quality"),
        (dict(quality=dict(type="NoQuality"), loss_cls=dict(type="mmdet.QualityFocalLoss", beta=None)),
         r"is a mmdet\.models\.losses\.\w+\.QualityFocalLoss, which needs a quality.*'NoQuality'.*write .*'FocalLoss'"),
        (dict(quality=dict(type="NoQuality"), loss_cls=dict(type="mmdet.VarifocalLoss", beta=None)),
         r"is a mmdet\.models\.losses\.\w+\.VarifocalLoss, which needs a quality.*'NoQuality'.*write .*'FocalLoss'"),
        (dict(quality=dict(type="GuidedQuality", measure=["iou"]), loss_cls=None), r"measure is \['iou'\]; it must be"),
        (dict(quality=dict(type="JointQuality", box_weight=["iou"])), r"box_weight is \['iou'\]; it must be one of"),
        (dict(train_cfg=dict(assigner=dict(topk=True))), "topk is True; it must be a whole number"),
        (dict(quality=dict(type="QualityBranch", measure="size"), loss_cls=None), "'size'.*'centerness', 'iou'"),
        (dict(quality=dict(type="GIoULoss")), "quality is a GIoULoss.*JointQuality"),
        (dict(bbox_coder=dict(type="DiracBBoxCoder")), "loss_dfl is a DistributionFocalLoss.*loss_dfl=None"),
        (dict(bbox_coder=dict(type="GaussianBBoxCoder")), "loss_dfl is a DistributionFocalLoss.*GaussianNLLLoss"),
        (dict(bbox_coder=dict(type="DiracBBoxCoder"), loss_dfl=None, reg_max=8), "reg_max is 8.*no bins"),
        (dict(train_cfg=dict(assigner=dict(topk=0))), "topk is 0; it must be a whole number >= 1"),
        (dict(train_cfg=dict(assigner=None)), "train_cfg has no assigner"),
        (dict(train_cfg=dict(sampler=dict(type="RandomSampler", num=9, pos_fraction=0.5))), "is a RandomSampler"),
    ],
)  # fmt: skip
def test_config_mistakes(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        our_head(**changes)


def test_losses_have_defaults() -> None:
    """A config without losses gives those of the paper."""
    head = our_head(loss_cls=None, loss_dfl=None, loss_bbox=None)
    assert (head.loss_cls.beta, head.loss_bbox.loss_weight, head.loss_dfl.loss_weight) == (2.0, 2.0, 0.25)
    assert (
        losses_and_gradients(head, random_batch(Recipe()))[0]
        == losses_and_gradients(our_head(), random_batch(Recipe()))[0]
    )


def test_reg_max_may_be_set_in_the_coder_only() -> None:
    head = our_head(bbox_coder=dict(type="IntegralBBoxCoder", reg_max=8))
    assert head.reg_max == 8 and head.gfl_reg.out_channels == 4 * 9


@pytest.mark.parametrize(
    "bad",
    [
        [50.0, 50.0, 50.0, 50.0],  # no size
        [50.0, 50.0, 80.0, 50.0],  # no height
        [80.0, 80.0, 40.0, 40.0],  # corners exchanged
        [float("nan"), 10.0, 20.0, 30.0],
        [10.0, 10.0, float("inf"), 30.0],
        [-400.0, -400.0, -300.0, -300.0],  # left of the image
        [5000.0, 5000.0, 6000.0, 6000.0],  # right of the image
        [1e30, 1e30, 2e30, 2e30],
    ],
)
def test_degenerate_boxes_are_ignored(bad: list[float]) -> None:
    """Losses and gradients are those of the batch without the box."""
    head = our_head()
    batch = random_batch(Recipe())
    expected = losses_and_gradients(head, batch)
    first = batch.gt_instances[0]
    batch.gt_instances[0] = InstanceData(
        bboxes=torch.cat([torch.tensor([bad]), first.bboxes]), labels=torch.cat([torch.tensor([3]), first.labels])
    )
    found = losses_and_gradients(head, batch)
    assert found[0] == expected[0]
    for a, b in zip(expected[1] + expected[2], found[1] + found[2]):
        assert torch.equal(a, b)


def test_box_partly_outside_the_image_is_not_ignored() -> None:
    head = our_head()
    batch = random_batch(Recipe(images=1, objects=(0,)))
    batch.gt_instances = [InstanceData(bboxes=torch.tensor([[-20.0, 10.0, 71.0, 83.0]]), labels=torch.tensor([1]))]
    assert sum(losses_and_gradients(head, batch)[0]["loss_bbox"]) > 0


def test_label_beyond_the_classes() -> None:
    head = our_head()
    batch = random_batch(Recipe())
    batch.gt_instances[1].labels[0] = 7
    with pytest.raises(ValueError, match="label 7.*num_classes=7.*metainfo"):
        head.loss_by_feat(*batch.arguments())


def test_number_of_maps_and_strides_differ() -> None:
    head = our_head()
    batch = random_batch(Recipe(strides=(8, 16)))
    with pytest.raises(ValueError, match=r"2 feature maps came for 3 strides \[8.0, 16.0, 32.0\]"):
        head.loss_by_feat(*batch.arguments())


def test_settings_as_a_plain_dict() -> None:
    """The settings of a model built in Python may be a dict instead of MMEngine's ConfigDict."""
    head = our_head()
    batch = random_batch(Recipe())
    arguments = (batch.cls_scores, batch.bbox_preds)
    expected = head.predict_by_feat(*arguments, batch_img_metas=batch.img_metas)
    found = head.predict_by_feat(*arguments, batch_img_metas=batch.img_metas, cfg=head.test_cfg.to_dict())
    assert len(expected[0]) and all(torch.equal(one.bboxes, two.bboxes) for one, two in zip(expected, found))


def test_batch_without_an_image() -> None:
    """It has no detections, as in MMDetection; its losses are a clear error (an IndexError in MMDetection)."""
    head = our_head()
    batch = random_batch(Recipe())
    none = [level[:0] for level in batch.cls_scores], [level[:0] for level in batch.bbox_preds]
    assert head.predict_by_feat(*none, batch_img_metas=[]) == []
    with pytest.raises(ValueError, match="the batch holds no image"):
        head.loss_by_feat(*none, [], [])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b.bbox_preds.pop(), "3 class maps came with 2 box maps"),
        (lambda b: b.gt_instances.pop(), "boxes of 1 images came with maps of 2"),
        (lambda b: b.gt_instances_ignore.pop(), "boxes of 1 images came with maps of 2"),
        (lambda b: b.img_metas.pop(), r"level 0 has a class map \(2, 7, 20, 24\).* for 1 images and 7 classes"),
        (lambda b: b.cls_scores.insert(1, b.cls_scores.pop(1)[:, :6]), r"level 1 has a class map \(2, 6, 10, 12\)"),
        (lambda b: b.cls_scores.insert(1, b.cls_scores.pop(1)[..., 1:]), r"level 1 has a class map \(2, 7, 10, 11\)"),
        (lambda b: b.bbox_preds.insert(2, b.bbox_preds.pop(2)[:1]), r"level 2.*box map \(1, 68, 5, 6\)"),
        (lambda b: b.bbox_preds.insert(2, b.bbox_preds.pop(2)[:, :60]), r"level 2.*box map \(2, 60, 5, 6\)"),
        (lambda b: b.bbox_preds.insert(1, b.bbox_preds.pop(1).to("meta")), "level 1.*on cpu, its box map on meta"),
        (lambda b: b.cls_scores.insert(1, b.cls_scores.pop(1).to("meta")), "level 1.*on meta, its box map on cpu"),
    ],
)
def test_parts_of_a_batch_that_do_not_fit_together(change, message: str) -> None:
    head = our_head()
    batch = random_batch(Recipe(ignored=(1, 1), same_size=True))
    change(batch)
    with pytest.raises(ValueError, match=message):
        head.loss_by_feat(*batch.arguments())
    if "boxes of" not in message:
        with pytest.raises(ValueError, match=message):
            head.predict_by_feat(batch.cls_scores, batch.bbox_preds, batch_img_metas=batch.img_metas)


def test_checkpoint_of_another_head() -> None:
    state = {"retina_cls.weight": torch.zeros(1), "retina_reg.weight": torch.zeros(1)}
    model = torch.nn.ModuleDict({"bbox_head": our_head()})
    with pytest.raises(ValueError, match=r"another head \(retina_cls, retina_reg\).*prefix='backbone.'"):
        load_state_dict(model, {f"bbox_head.{key}": value for key, value in state.items()})


def test_checkpoint_of_another_reg_max() -> None:
    state = {f"bbox_head.{key}": value for key, value in our_head(reg_max=8).state_dict().items()}
    model = torch.nn.ModuleDict({"bbox_head": our_head()})
    with pytest.raises(ValueError, match=r"36 channels \(reg_max=8\), this head's 68 \(reg_max=16\)"):
        load_state_dict(model, state)


def test_checkpoint_with_a_backbone_only_loads() -> None:
    model = torch.nn.ModuleDict({"backbone": torch.nn.Linear(2, 2), "bbox_head": our_head()})
    load_state_dict(model, {"backbone.weight": torch.ones(2, 2)})
    assert torch.equal(model["backbone"].weight, torch.ones(2, 2))


def test_head_for_prediction_needs_no_train_cfg() -> None:
    batch = random_batch(Recipe())
    arguments = (batch.cls_scores, batch.bbox_preds)
    assert "train_cfg" not in head_config(train_cfg=None)
    found, expected = (
        our_head(**changes).predict_by_feat(*arguments, batch_img_metas=batch.img_metas)
        for changes in (dict(train_cfg=None), {})
    )
    assert len(expected[0]) and all(torch.equal(one.bboxes, two.bboxes) for one, two in zip(expected, found))
