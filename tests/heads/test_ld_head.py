"""The losses and gradients of LDHead equal those of MMDetection 3.3.0's LDHead."""

from __future__ import annotations

from dataclasses import replace
from functools import partialmethod

import pytest
import torch
from cases import (
    Batch,
    Recipe,
    build_head,
    gradient_difference,
    head_config,
    losses_and_gradients,
    random_batch,
    record,
    without_ties,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.structures import DetDataSample
from torch import Tensor, nn

from gfl_plugin.assigners import Assignment
from gfl_plugin.losses import LocalizationDistillationLoss

STOCK_LOSS = dict(type="KnowledgeDistillationKLDivLoss", loss_weight=0.25, T=10)  # of MMDetection's configs


def both(**changes: object) -> tuple:
    """MMDetection's LDHead and ours with the same weights."""
    config = dict(loss_ld=STOCK_LOSS, **changes)
    theirs = build_head(head_config(type="LDHead", **config))
    ours = build_head(head_config(type="gfl_plugin.LDHead", **config))
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return theirs, ours


class WithTeacher:
    """A head whose losses take a batch without soft targets, as GFLHead's do."""

    def __init__(self, head: nn.Module, soft_targets: list[Tensor]) -> None:
        self.head = head
        self.soft_targets = soft_targets

    def loss_by_feat(self, cls_scores, bbox_preds, truths, metas, ignored=None) -> dict:
        return self.head.loss_by_feat(cls_scores, bbox_preds, truths, metas, self.soft_targets, ignored)


class InDouble(nn.Module):
    """One of MMDetection's losses, computed in fp64."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, pred, target, **named):
        target = (target[0], target[1].double()) if isinstance(target, tuple) else target.double()
        return self.loss(pred.double(), target, **{**named, "weight": named["weight"].double()})


def soft_targets_of(batch: Batch, seed: int, distance: float = 2.0) -> list[Tensor]:
    random = torch.Generator().manual_seed(seed)
    return [level + distance * torch.randn(level.shape, generator=random) for level in batch.bbox_preds]


def compare(theirs: nn.Module, ours: nn.Module, batch: Batch, soft_targets: list[Tensor]) -> None:
    """Check that losses agree to 1e-5 of the largest level, gradients to 1e-6 of the largest.

    MMDetection computes QFL and LD in fp64 here. In fp32 both cancel; the difference to MMDetection as it is may exceed
    the limits by its own rounding error only.
    """
    found, stock = (losses_and_gradients(WithTeacher(head, soft_targets), batch) for head in (ours, theirs))
    own_losses = theirs.loss_cls, theirs.loss_ld
    theirs.loss_cls, theirs.loss_ld = map(InDouble, own_losses)
    exact = losses_and_gradients(WithTeacher(theirs, soft_targets), batch)
    theirs.loss_cls, theirs.loss_ld = own_losses
    for limit, (name, ours_), (_, as_it_is), (_, expected) in zip(
        (1e-5, 1e-5, 1e-5, 1e-5, 1e-6, 1e-6), parts(found), parts(stock), parts(exact)
    ):
        rounding = relative(as_it_is, expected)
        assert record(f"LDHead, its QFL and LD in fp64: {name}", relative(ours_, expected)) <= limit, name
        assert record(f"LDHead, as it is: {name}", relative(ours_, as_it_is)) <= limit + 1.1 * rounding, name


def parts(result: tuple) -> list[tuple[str, list[Tensor]]]:
    losses, classes, boxes = result
    assert list(losses) == ["loss_cls", "loss_bbox", "loss_dfl", "loss_ld"]
    values = [(name, [torch.tensor(levels)]) for name, levels in losses.items()]
    return [*values, ("gradients of class logits", classes), ("gradients of box logits", boxes)]


def relative(found: list[Tensor], expected: list[Tensor]) -> float:
    return gradient_difference(expected, found)


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    images = draw(st.integers(1, 4))
    ignoring = draw(st.booleans())
    return Recipe(
        seed=draw(st.integers(0, 2**31)),
        strides=draw(st.sampled_from([(8, 16, 32), (8,), (8, 16, 32, 64, 128), (7, 14)])),
        height=draw(st.integers(64, 260)),
        width=draw(st.integers(64, 260)),
        images=images,
        objects=tuple(draw(st.integers(0, 40)) for _ in range(images)),
        ignored=tuple(draw(st.integers(0, 3)) for _ in range(images)) if ignoring else (),
        classes=draw(st.integers(1, 12)),
        reg_max=draw(st.sampled_from([16, 16, 8, 1])),
        mean=draw(st.sampled_from([-6.0, -2.0, 1.0])),
    )


@settings(max_examples=120)
@given(recipes(), st.sampled_from([0.1, 2.0, 10.0]), st.sampled_from([-1, 2.5]), st.sampled_from([1, 2, 10]))
def test_losses_and_gradients_equal(recipe: Recipe, distance: float, pos_weight: float, temperature: int) -> None:
    theirs, ours = both(
        num_classes=recipe.classes,
        reg_max=recipe.reg_max,
        anchor_generator=dict(strides=list(recipe.strides)),
        train_cfg=dict(assigner=dict(ignore_iof_thr=0.5 if recipe.ignored else -1), pos_weight=pos_weight),
    )
    theirs.loss_ld.T = ours.loss_ld.T = temperature
    batch = without_ties(random_batch(recipe), theirs)
    compare(theirs, ours, batch, soft_targets_of(batch, recipe.seed, distance))


@pytest.mark.parametrize("objects", [(0, 0), (0, 5)])
def test_images_without_objects(objects: tuple[int, int]) -> None:
    theirs, ours = both()
    batch = without_ties(random_batch(Recipe(objects=objects)), theirs)
    soft_targets = soft_targets_of(batch, 0)
    compare(theirs, ours, batch, soft_targets)
    losses, _, boxes = losses_and_gradients(WithTeacher(ours, soft_targets), batch)
    assert any(losses["loss_ld"]) == any(objects)
    assert all(level.isfinite().all() for level in boxes)


def test_loss_of_features_equals() -> None:
    """From features and data samples to losses, as the detector calls the head."""
    theirs, ours = both()
    batch = without_ties(random_batch(Recipe()), theirs)
    samples = []
    for truth, meta in zip(batch.gt_instances, batch.img_metas):
        samples.append(DetDataSample(metainfo=meta))
        samples[-1].gt_instances = truth
    features = tuple(torch.randn(2, 8, *level.shape[-2:]) for level in batch.cls_scores)
    teacher = (batch.cls_scores, soft_targets_of(batch, 0))
    expected, found = (head.loss(features, teacher, samples) for head in (theirs, ours))
    assert list(expected) == list(found) and sum(found["loss_ld"]) > 0
    for name, levels in expected.items():
        assert [float(level) for level in found[name]] == pytest.approx([float(x) for x in levels], rel=1e-4), name


def test_distillation_is_a_sum_over_positives() -> None:
    """Twice the images have twice the distillation loss, and the same box losses, which are divided by all weights."""
    _, ours = both()
    batch = random_batch(Recipe(objects=(6, 9)))
    soft_targets = soft_targets_of(batch, 0)
    once = losses_and_gradients(WithTeacher(ours, soft_targets), batch)[0]
    doubled = Batch(
        *([torch.cat([level, level]) for level in maps] for maps in (batch.cls_scores, batch.bbox_preds)),
        batch.gt_instances * 2,
        batch.img_metas * 2,
    )
    soft_targets = [torch.cat([level, level]) for level in soft_targets]
    twice = losses_and_gradients(WithTeacher(ours, soft_targets), doubled)[0]
    assert twice["loss_ld"] == pytest.approx([2 * level for level in once["loss_ld"]], rel=1e-6)
    assert twice["loss_dfl"] == pytest.approx(once["loss_dfl"], rel=1e-6)


def test_one_row_per_candidate_gives_the_same_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Positives as on a GPU, where most rows are inactive, give the same losses and gradients."""
    _, ours = both()
    batch = random_batch(Recipe(objects=(20, 30)))
    head = WithTeacher(ours, soft_targets_of(batch, 0))
    expected = losses_and_gradients(head, batch)
    monkeypatch.setattr(Assignment, "positives", partialmethod(Assignment.positives, compact=False))
    found = losses_and_gradients(head, batch)
    for name in expected[0]:
        assert found[0][name] == pytest.approx(expected[0][name], rel=1e-5)
    assert gradient_difference(expected[1], found[1]) < 1e-6
    assert gradient_difference(expected[2], found[2]) < 1e-6


def test_a_teacher_in_half_precision_is_read_in_full_precision() -> None:
    _, ours = both()
    batch = random_batch(Recipe())
    half = [level.bfloat16() for level in soft_targets_of(batch, 0)]
    found, expected = (
        losses_and_gradients(WithTeacher(ours, maps), batch)[0]["loss_ld"]
        for maps in (half, [level.float() for level in half])
    )
    assert found == expected


@pytest.mark.parametrize(
    "loss_ld", [None, STOCK_LOSS, dict(type="LocalizationDistillationLoss", loss_weight=0.25, T=10)], ids=str
)
def test_names_of_the_loss(loss_ld: dict | None) -> None:
    """The default, MMDetection's name and ours mean the same loss."""
    loss = build_head(head_config(type="gfl_plugin.LDHead", loss_ld=loss_ld)).loss_ld
    assert type(loss) is LocalizationDistillationLoss and (loss.loss_weight, loss.T) == (0.25, 10)


def test_a_quality_branch_can_be_distilled() -> None:
    """Box weights of another quality representation weight the distillation, too."""
    head = build_head(
        head_config(
            type="gfl_plugin.LDHead",
            quality=dict(type="QualityBranch", measure="iou"),
            loss_cls=dict(type="FocalLoss", use_sigmoid=True, beta=None),
        )
    )
    batch = random_batch(Recipe())
    maps = [torch.zeros(2, 1, *level.shape[-2:]) for level in batch.cls_scores]
    losses = head.loss_by_feat(
        batch.cls_scores, batch.bbox_preds, batch.gt_instances, batch.img_metas, soft_targets_of(batch, 0),
        score_factors=maps,
    )  # fmt: skip
    assert sum(losses["loss_ld"]) > 0
    same = head.loss_by_feat(
        batch.cls_scores, batch.bbox_preds, batch.gt_instances, batch.img_metas, batch.bbox_preds, score_factors=maps
    )
    assert sum(same["loss_ld"]) == 0


def test_soft_targets_that_do_not_fit() -> None:
    _, ours = both()
    batch = random_batch(Recipe())
    narrow = random_batch(replace(Recipe(), reg_max=8)).bbox_preds
    for given_, message in (
        (batch.bbox_preds[:2], "the teacher gives box maps of 2 levels, the student of 3"),
        (narrow, r"level 0: the teacher's box map has shape \(2, 36, 20, 24\), the student's \(2, 68, 20, 24\)"),
        ([level.to("meta") for level in batch.bbox_preds], "level 0: the teacher's box map lies on meta"),
    ):
        with pytest.raises(ValueError, match=message):
            losses_and_gradients(WithTeacher(ours, given_), batch)


def test_a_coder_without_bins_is_an_error() -> None:
    with pytest.raises(ValueError, match="bbox_coder is a DiracBBoxCoder, whose sides are not distributions over bins"):
        build_head(head_config(type="gfl_plugin.LDHead", bbox_coder=dict(type="DiracBBoxCoder"), loss_dfl="by_coder"))
