"""GFLV2's joint score: equal to the authors' product of probabilities, and finite where that product is not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from cases import Batch, Recipe, gradient_difference, our_head, random_batch, record, without_ties
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from quality.gflv2_reference import ReferenceHead, as_double, in_double, reference_head
from torch import Tensor

QUALITY = dict(topk=4, values=True, mean=True, variance=False, hidden=64)
STRIDES = (8, 16, 32, 64, 128)


def both(
    quality: dict, beta: float = 2.0, signed: bool = False, **changes: object
) -> tuple[ReferenceHead, torch.nn.Module]:
    """The reference and our head with the same random weights, as large as after a training.

    Args:
        quality: settings of the quality.
        beta: of QFL.
        signed: whether each hidden unit has the same sign everywhere, so that no rounding decides whether it is active.
        **changes: as ``head_config``.
    """
    theirs = reference_head(quality, beta, **changes)
    for name, weight in theirs.named_parameters():
        if "conf" in name or "gfl_" in name:
            torch.nn.init.normal_(weight, std=0.5)
    if signed:  # statistics are in [0, 1]
        layer = theirs.reg_conf[0]
        layer.bias.data = layer.bias.detach().sign() * (layer.weight.detach().abs().sum((1, 2, 3)) + 0.1)
        theirs.reg_conf[2].weight.data /= 8  # hidden units are large then
    loss_cls = dict(use_sigmoid=False, beta=beta)  # as in the authors' configs
    ours = our_head(**changes, quality=dict(type="DistributionGuidedQuality", **quality), loss_cls=loss_cls)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    with torch.no_grad():
        for mine, weight in zip(ours.parameters(), theirs.parameters()):
            weight.copy_(mine)  # rounded to fp32
    return theirs, ours


def distinct_bins(batch: Batch) -> Batch:
    """The batch with logits of a side that are at least 2^-12 apart.

    The order of two bins whose probabilities are equal in fp32, and with it their gradients, is undefined.
    """
    boxes = []
    for level in batch.bbox_preds:
        bins = level.shape[1] // 4
        offset = (torch.arange(bins) / 4096).repeat(4)[:, None, None]
        boxes.append((level * 64).round() / 64 + offset)
    return replace(batch, bbox_preds=boxes)


def joint_maps(head: torch.nn.Module, batch: Batch) -> list[Tensor]:
    """The logits of the joint scores of a batch's class and box logits."""
    if isinstance(head, ReferenceHead):
        return [head.joint_score(a, b).logit() for a, b in zip(batch.cls_scores, batch.bbox_preds)]
    return [head.quality.outputs(a, None, b)[0] for a, b in zip(batch.cls_scores, batch.bbox_preds)]


def computed(head: torch.nn.Module, batch: Batch) -> tuple[dict[str, list[float]], list[list[Tensor]], list[Tensor]]:
    """Losses per level; gradients of class logits, box logits and quality layers; joint scores per level."""
    dtype = next(head.parameters()).dtype
    leaves = [[level.to(dtype).requires_grad_() for level in maps] for maps in (batch.cls_scores, batch.bbox_preds)]
    maps = replace(batch, cls_scores=leaves[0], bbox_preds=leaves[1])
    joint = joint_maps(head, maps)
    losses = head.loss_by_feat(joint, leaves[1], batch.gt_instances, batch.img_metas)
    sum(sum(levels) for levels in losses.values()).backward()
    layers = [weight for name, weight in head.named_parameters() if "reg_conf" in name]
    gradients = [[leaf.grad for leaf in each] for each in (*leaves, layers)]
    values = {name: [float(level.detach()) for level in levels] for name, levels in losses.items()}
    return values, gradients, [level.detach().sigmoid() for level in joint]


def compare(theirs: ReferenceHead, ours: torch.nn.Module, batch: Batch, name: str = "GFLV2") -> None:
    """Check losses, all gradients and all scores against the reference in fp64."""
    quality: list[Tensor] = []

    def keep(layer: torch.nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        output.retain_grad()
        quality.append(output)

    hook = theirs.reg_conf[2].register_forward_hook(keep)
    with in_double():
        expected = computed(theirs, as_double(without_ties(batch, theirs)))
    hook.remove()
    found = computed(ours, without_ties(batch, theirs))
    for loss, values in expected[0].items():
        scale = max(map(abs, values)) or 1.0
        worst = max(abs(a - b) for a, b in zip(values, found[0][loss])) / scale
        assert record(f"{name}: losses, relative", worst) <= 1e-5
    # A joint logit of -16 is rounded by 1e-6 in fp32, and its relative gradient by β + 1 times that.
    for part, one, other in zip(("class logits", "box logits"), expected[1], found[1]):
        worst = gradient_difference(one, other)
        assert record(f"{name}: gradients of {part}, of the largest", worst) <= 5e-6
    # Those of the layers are sums over all locations, of terms of both signs: rounding is relative to the terms.
    terms = sum(float(level.grad.abs().sum()) for level in quality)
    largest = max(terms, *(float(weight.abs().max()) for weight in expected[1][2]))
    worst = max(float((one - other).abs().max()) for one, other in zip(expected[1][2], found[1][2])) / largest
    assert record(f"{name}: gradients of quality layers, of the sum of magnitudes", worst) <= 5e-6
    worst = max(float(((a - b) / a).abs().max()) for a, b in zip(expected[2], found[2]))
    assert record(f"{name}: scores, relative", worst) <= 1e-5


@st.composite
def cases(draw: st.DrawFn) -> tuple[Recipe, dict, float]:
    """The recipe of a batch, settings of the quality, and β."""
    bins = draw(st.sampled_from([17, 17, 9, 4]))
    chosen = draw(st.sampled_from([(v, m, s) for v in (1, 0) for m in (1, 0) for s in (0, 1) if v or m or s]))
    recipe = Recipe(
        seed=draw(st.integers(0, 2**31)),
        height=draw(st.integers(40, 200)),
        width=draw(st.integers(40, 200)),
        objects=(draw(st.integers(0, 30)), draw(st.integers(0, 6))),
        classes=draw(st.integers(1, 9)),
        reg_max=bins - 1,
        mean=draw(st.sampled_from([-6.0, -2.0, 1.0])),
    )
    values, mean, variance = map(bool, chosen)
    quality = dict(topk=draw(st.integers(1, min(bins, 8))), values=values, mean=mean, variance=variance)
    return recipe, dict(quality, hidden=draw(st.sampled_from([64, 8, 1]))), draw(st.sampled_from([2.0, 2.0, 1.0, 0.0]))


@settings(max_examples=60)
@given(cases())
def test_losses_gradients_and_scores_are_the_authors(case: tuple[Recipe, dict, float]) -> None:
    recipe, quality, beta = case
    heads = both(quality, beta, num_classes=recipe.classes, reg_max=recipe.reg_max)
    batch = distinct_bins(random_batch(recipe))
    hidden: list[Tensor] = []
    heads[0].reg_conf[0].register_forward_hook(lambda layer, inputs, output: hidden.append(output.detach().abs()))
    joint_maps(heads[0], _doubled(batch))
    # Where a hidden unit is almost 0, rounding decides whether it is active.
    assume(min(float(level.min()) for level in hidden) > 1e-6)
    compare(*heads, batch)


def test_at_coco_size() -> None:
    recipe = Recipe(strides=STRIDES, height=800, width=1344, objects=(7, 12), classes=80, mean=-5.0)
    heads = both(QUALITY, signed=True, num_classes=80, anchor_generator=dict(strides=list(STRIDES)))
    compare(*heads, distinct_bins(random_batch(recipe)), "GFLV2 at COCO size")


def test_the_whole_head_from_features() -> None:
    """Losses, and the gradients of the features and of all weights, through the towers."""
    theirs, ours = both(QUALITY, signed=True)
    batch = without_ties(random_batch(Recipe(objects=(9, 6))), theirs)
    features = [torch.randn(2, 8, *level.shape[-2:]) for level in batch.cls_scores]

    def gradients(head: torch.nn.Module, own: Batch) -> tuple[dict[str, list[Tensor]], list[Tensor]]:
        inputs = [level.to(next(head.parameters()).dtype).requires_grad_() for level in features]
        losses = head.loss_by_feat(*head(inputs), own.gt_instances, own.img_metas)
        sum(sum(levels) for levels in losses.values()).backward()
        return losses, [leaf.grad for leaf in (*inputs, *head.parameters())]

    with in_double():
        expected, their_gradients = gradients(theirs, as_double(batch))
    found, our_gradients = gradients(ours, batch)
    for name, levels in expected.items():
        for one, other in zip(levels, found[name]):
            difference = float((one - other).abs() / max(float(value) for value in levels))
            assert record("GFLV2, whole head: losses, relative", difference) <= 1e-5
    for one, other in zip(their_gradients, our_gradients):
        difference = gradient_difference([one], [other])
        assert record("GFLV2, whole head: gradients, of the largest of each tensor", difference) <= 1e-4


def test_detections_are_ranked_by_the_product() -> None:
    """Boxes, classes and scores are those of MMDetection's head for the authors' product in fp64."""
    theirs, ours = both(QUALITY)
    batch = random_batch(Recipe(mean=0.0))
    products = [level.float() for level in joint_maps(theirs, _doubled(batch))]
    arguments = dict(batch_img_metas=batch.img_metas, rescale=True)
    with torch.no_grad():
        expected = theirs.predict_by_feat(products, batch.bbox_preds, **arguments)
        found = ours.predict_by_feat(joint_maps(ours, batch), batch.bbox_preds, **arguments)
    for one, other in zip(expected, found):
        assert len(one) == len(other) > 10 and torch.equal(one.labels, other.labels)
        assert record("GFLV2: detections' scores", (one.scores - other.scores).abs().max()) <= 1e-6
        assert record("GFLV2: detections' boxes, px", (one.bboxes - other.bboxes).abs().max()) <= 1e-3


def _doubled(batch: Batch) -> Batch:
    maps = ([level.double() for level in each] for each in (batch.cls_scores, batch.bbox_preds))
    return Batch(*maps, batch.gt_instances, batch.img_metas)


def test_initial_weights_are_the_authors() -> None:
    """All convolutions are drawn alike, with standard deviation 0.01; only the class logits have a bias."""
    theirs, ours = both(QUALITY)
    weights = []
    for head in (theirs.float(), ours):
        torch.manual_seed(3)
        head.init_weights()
        weights.append({key.removeprefix("quality."): value for key, value in head.state_dict().items()})
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())


# ---------------------------------------------------------------------------------------------------
# Extreme logits, half precision
# ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("low", [None, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shift", [-60.0, 60.0])
def test_finite_at_extreme_logits(low: torch.dtype | None, shift: float) -> None:
    """Class and quality logits of ±60 and one-hot distributions give finite losses and gradients."""
    head = our_head(quality=dict(type="DistributionGuidedQuality"))
    batch = random_batch(Recipe(objects=(9, 4)))
    random = torch.Generator().manual_seed(1)
    for maps in (batch.cls_scores, batch.bbox_preds):
        for number, level in enumerate(maps):
            signs = torch.randint(0, 2, level.shape, generator=random) * 2.0 - 1
            maps[number] = (signs * 60).requires_grad_()
    torch.nn.init.constant_(head.quality.reg_conf[2].bias, shift)
    with torch.autocast("cpu", dtype=low or torch.bfloat16, enabled=low is not None):
        classes = [level if low is None else level.to(low) for level in batch.cls_scores]
        joint = joint_maps(head, replace(batch, cls_scores=classes))
        losses = head.loss_by_feat(joint, batch.bbox_preds, batch.gt_instances, batch.img_metas)
        total = sum(sum(levels) for levels in losses.values())
    total.backward()
    assert all(level.dtype == torch.float32 and bool(level.isfinite().all()) for level in joint)
    assert total.isfinite() and total > 0
    for leaf in (*batch.cls_scores, *batch.bbox_preds, *head.quality.parameters()):
        assert leaf.grad.isfinite().all()
    assert max(float(leaf.grad.abs().max()) for leaf in batch.cls_scores) > 0


def test_autocast_changes_nothing_after_the_towers() -> None:
    """The quality is computed in fp32 also under autocast."""
    head = our_head(quality=dict(type="DistributionGuidedQuality"))
    batch = random_batch(Recipe())
    expected = joint_maps(head, batch)
    with torch.autocast("cpu", dtype=torch.float16):
        found = joint_maps(head, batch)
    assert all(torch.equal(one, other) for one, other in zip(expected, found))


def test_half_precision_weights_train() -> None:
    """As with DeepSpeed's bf16, where all weights are bf16."""
    head = our_head(quality=dict(type="DistributionGuidedQuality")).bfloat16()
    outputs = head([torch.randn(2, 8, size, size).bfloat16() for size in (20, 10, 5)])
    batch = random_batch(Recipe(height=160, width=160, objects=(3, 3), same_size=True))
    losses = head.loss_by_feat(*outputs, batch.gt_instances, batch.img_metas)
    sum(sum(levels) for levels in losses.values()).backward()
    assert all(weight.grad.isfinite().all() for weight in head.quality.parameters())
