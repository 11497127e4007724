"""Settings of the joint quality: warm-up of its targets, weights of box losses, and losses of the joint score."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from cases import Recipe, losses_and_gradients, our_head, random_batch, random_boxes
from torch import Tensor

from gfl_plugin.losses import MatchabilityAwareLoss
from gfl_plugin.ops.box_geometry import aligned_iou
from gfl_plugin.quality import DistributionGuidedQuality, JointQuality, Matched
from gfl_plugin.structures.ramp import at_training_step

KINDS = [JointQuality, DistributionGuidedQuality]


def some_matched(rows: int = 40) -> Matched:
    """Random predictions, most of which overlap their objects."""
    target = random_boxes(rows, 20, 20)
    predicted = target + 2 * torch.rand(rows, 4)
    predicted[: rows // 8] = target[: rows // 8] + 100  # outside of the object
    return Matched(torch.rand(rows, 4), predicted, target, torch.rand(rows))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", [0, 1, 7, 9, 10, 11, 5000])
def test_targets_go_from_1_to_the_iou(kind: type[JointQuality], step: int) -> None:
    matched, r = some_matched(), min(step / 10, 1.0)
    iou = aligned_iou(matched.predicted, matched.target)
    assert (iou == 0).any() and (iou > 0.1).any()
    with at_training_step(step):
        found = kind(warmup=10).target(matched)
    assert torch.allclose(found, 1 - r * (1 - iou), atol=1e-6)
    if r in (0.0, 1.0):
        assert torch.equal(found, iou if r else torch.ones_like(iou))


@pytest.mark.parametrize("kind", KINDS)
def test_targets_are_the_iou_without_a_warmup_and_outside_of_a_training(kind: type[JointQuality]) -> None:
    matched = some_matched()
    iou = aligned_iou(matched.predicted, matched.target)
    assert torch.equal(kind(warmup=10).target(matched), iou)
    with at_training_step(0):
        assert torch.equal(kind().target(matched), iou)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_box_losses(kind: type[JointQuality]) -> None:
    """The weight "iou" is the IoU also where a warm-up has other targets."""
    matched = some_matched()
    expected = {
        "score": matched.score,
        "iou": aligned_iou(matched.predicted, matched.target),
        "one": torch.ones(len(matched.score)),
    }
    for name, weight in expected.items():
        quality = kind(box_weight=name, warmup=10)
        with at_training_step(3):
            assert torch.equal(quality.box_weight(matched, quality.target(matched)), weight)


@pytest.mark.parametrize("kind", KINDS)
def test_balanced_weights_give_each_class_the_part_of_its_positives(kind: type[JointQuality]) -> None:
    """Within a class they are proportional to the scores; rows that are no positives do not count."""
    matched = some_matched()
    label, active = torch.arange(40) % 3, torch.arange(40) % 5 != 0
    score = matched.score * torch.tensor([1.0, 1e-3, 0.0])[label]
    matched = replace(matched, score=score, label=label, active=active, classes=5)
    weight = kind(box_weight="balanced").box_weight(matched, matched.score)
    mean = float(score[active].double().mean())
    for index, present in enumerate((True, True, False)):
        own = active & (label == index)
        assert float(weight[own].sum()) == pytest.approx(mean * int(own.sum()) if present else 0.0, rel=1e-6)
        assert torch.allclose(weight[own] * score[own].sum(), score[own] * weight[own].sum())
    assert weight.isfinite().all()


@pytest.mark.parametrize("shift", [0.0, -12.0])
@pytest.mark.parametrize("present", [1, 3])
def test_balanced_weights_of_one_class_are_the_scores(shift: float, present: int) -> None:
    """Bit for bit, also where scores sum to less than 1, and where others of the head's classes have no objects."""
    batch = random_batch(Recipe(same_size=True, classes=present))
    for truths in batch.gt_instances:
        truths.labels = torch.zeros_like(truths.labels)
    batch.cls_scores = [level + shift for level in batch.cls_scores]
    balanced = our_head(num_classes=present, quality=dict(type="JointQuality", box_weight="balanced"))
    found, expected = (losses_and_gradients(head, batch) for head in (balanced, our_head(num_classes=present)))
    assert found[0] == expected[0]
    for ours, theirs in zip(found[1] + found[2], expected[1] + expected[2]):
        assert torch.equal(ours, theirs)


def test_a_head_weights_its_box_losses_so() -> None:
    """With equal weights, the losses of boxes and sides are means over the positives, whatever the scores are."""
    batch, other = random_batch(Recipe(same_size=True)), random_batch(Recipe(same_size=True))
    other.cls_scores = [level.flip(1) - 1 for level in batch.cls_scores]
    equal = our_head(quality=dict(type="JointQuality", box_weight="one"))
    default = our_head()
    for name in ("loss_bbox", "loss_dfl"):
        assert losses_and_gradients(equal, batch)[0][name] == losses_and_gradients(equal, other)[0][name]
        assert losses_and_gradients(default, batch)[0][name] != losses_and_gradients(default, other)[0][name]
    rows = sum(losses_and_gradients(equal, batch)[0]["loss_bbox"])
    weighted = our_head(quality=dict(type="NoQuality"), loss_cls=dict(type="FocalLoss", beta=None))
    assert rows == pytest.approx(sum(losses_and_gradients(weighted, batch)[0]["loss_bbox"]), rel=1e-6)


def test_a_warmup_of_a_head_begins_with_hard_labels() -> None:
    """In the first step, the class loss is QFL with y = 1 at the classes of positives; after the last, plain QFL."""
    batch = random_batch(Recipe(same_size=True))
    warm, plain = our_head(quality=dict(type="JointQuality", warmup=100)), our_head()
    with at_training_step(0):
        first, gradients, _ = losses_and_gradients(warm, batch)
    plain_losses, _, plain_boxes = losses_and_gradients(plain, batch)
    hard = our_head(quality=dict(type=HardLabels))
    expected, hard_gradients, _ = losses_and_gradients(hard, batch)
    assert first == expected != plain_losses
    assert all(torch.equal(one, other) for one, other in zip(gradients, hard_gradients))
    with at_training_step(100):
        last, _, boxes = losses_and_gradients(warm, batch)
    assert last == plain_losses
    assert all(torch.equal(one, other) for one, other in zip(boxes, plain_boxes))


class HardLabels(JointQuality):
    """Quality targets of 1."""

    def target(self, matched: Matched) -> Tensor:
        return torch.ones_like(matched.score)


@pytest.mark.parametrize("quality", ["JointQuality", "DistributionGuidedQuality"])
def test_a_head_takes_the_matchability_aware_loss(quality: str) -> None:
    """Its class loss is the loss of all scores as rows, with the IoU at the class of each positive."""
    head = our_head(
        quality=dict(type=quality), loss_cls=dict(type="MatchabilityAwareLoss", beta=None, use_sigmoid=None)
    )
    assert isinstance(head.loss_cls, MatchabilityAwareLoss) and head.loss_cls.gamma == 1.5
    assert head.cls_out_channels == head.num_classes
    batch, seen = random_batch(Recipe(same_size=True)), {}
    class_losses = head.quality.class_losses

    def recording(loss_cls, logits, targets):
        seen["targets"] = targets
        return class_losses(loss_cls, logits, targets)

    head.quality.class_losses = recording
    found = losses_and_gradients(head, batch)[0]["loss_cls"]
    targets = seen["targets"]
    parts = (targets.positives.image, targets.positives.location, targets.label, targets.quality)
    for level, value, (image, place, label, quality_) in zip(
        batch.cls_scores, found, zip(*(targets.positives.per_level(part) for part in parts))
    ):
        labels = torch.full((len(level), level[0, 0].numel()), head.num_classes)
        scores = torch.zeros(labels.shape)
        labels[image, place], scores[image, place] = label, quality_
        rows = level.permute(0, 2, 3, 1).reshape(-1, head.num_classes)
        expected = head.loss_cls(rows, (labels.flatten(), scores.flatten()), avg_factor=float(targets.avg_factor))
        assert value == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(warmup=-1), "warmup is -1; it must be a whole number >= 0"),
        (dict(warmup=0.5), "warmup is 0.5; it must be a whole number"),
        (dict(box_weight="giou"), "box_weight is 'giou'; it must be one of 'score', 'balanced', 'iou', 'one'"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_mistakes(kind: type[JointQuality], settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**settings)


def test_other_qualities_reject_the_matchability_aware_loss() -> None:
    with pytest.raises(ValueError, match=r"loss_cls is a gfl_plugin\..*MatchabilityAwareLoss, which needs a quality"):
        our_head(quality=dict(type="NoQuality"), loss_cls=dict(type="MatchabilityAwareLoss", beta=None))
