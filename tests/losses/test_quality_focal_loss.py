"""QFL equals its formula and MMDetection's loss, is finite for extreme logits, and rejects invalid input."""

from __future__ import annotations

import pytest
import torch
from cases import record
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.models.losses import QualityFocalLoss as MMDetQualityFocalLoss
from torch import Tensor

from gfl_plugin.losses import QualityFocalLoss, quality_focal_loss, sparse_quality_focal_loss
from gfl_plugin.structures.class_targets import ClassTargets
from gfl_plugin.structures.positives import Positives

ONE = torch.tensor(1.0)
BETAS = [0.0, 0.5, 1.0, 2.0, 2.5, 4.0]


def formula(logits: Tensor, quality: Tensor, beta: float) -> Tensor:
    """Eq. 5 of the paper, elementwise, in fp64; log(1 - σ) is written without cancellation."""
    x, y = logits.double(), quality.double()
    cross_entropy = -((1 - y) * torch.nn.functional.logsigmoid(-x) + y * torch.nn.functional.logsigmoid(x))
    return (y - x.sigmoid()).abs().pow(beta) * cross_entropy


def labels_and_scores(rows: int, classes: int) -> tuple[Tensor, Tensor]:
    """Random labels, including background (= classes), and random qualities, 0 for background."""
    label = torch.randint(0, classes + 1, (rows,))
    return label, torch.where(label < classes, torch.rand(rows), 0.0)


def dense(label: Tensor, score: Tensor, classes: int) -> Tensor:
    return (torch.nn.functional.one_hot(label, classes + 1)[:, :classes] * score[:, None]).float()


@pytest.mark.parametrize("beta", BETAS)
def test_loss_and_gradient_follow_the_formula(beta: float) -> None:
    logits = (3 * torch.randn(64, 5)).requires_grad_()
    label, score = labels_and_scores(64, 5)
    loss = quality_focal_loss(logits, (label, score), beta)
    loss.sum().backward()
    exact = logits.detach().double().requires_grad_()
    expected = formula(exact, dense(label, score, 5), beta).sum(dim=1)
    expected.sum().backward()
    assert torch.allclose(loss.double(), expected, rtol=2e-6)
    assert torch.allclose(logits.grad.double(), exact.grad, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("form", ["label and score", "dense"])
@pytest.mark.parametrize("activated", [False, True])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("weighted", [False, True])
def test_equal_to_mmdetection(beta: float, form: str, activated: bool, reduction: str, weighted: bool) -> None:
    settings_ = dict(beta=beta, reduction=reduction, loss_weight=1.5, activated=activated)
    theirs, ours = MMDetQualityFocalLoss(**settings_), QualityFocalLoss(**settings_)
    values = torch.rand(40, 6) * 0.98 + 0.01 if activated else 2 * torch.randn(40, 6)
    label, score = labels_and_scores(40, 6)
    target = (label, score) if form == "label and score" else dense(label, score, 6)
    weight = torch.rand(40) if weighted else None
    avg_factor = 7.0 if reduction == "mean" and weighted else None
    results = []
    for loss in (theirs, ours):
        pred = values.clone().requires_grad_()
        out = loss(pred, target, weight, avg_factor=avg_factor)
        out.sum().backward()
        results.append((out.detach(), pred.grad))
    (expected, expected_grad), (found, found_grad) = results
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-7)
    difference = (found_grad - expected_grad).abs().max() / expected_grad.abs().max()
    assert record("QFL module: gradients, of the largest", difference) <= 1e-6


def test_reduction_override_replaces_the_reduction() -> None:
    pred, target = torch.randn(5, 3), labels_and_scores(5, 3)
    loss = QualityFocalLoss(reduction="mean")
    assert loss(pred, target, reduction_override="none").shape == (5,)
    assert torch.allclose(loss(pred, target, reduction_override="sum"), 5 * loss(pred, target))


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_extreme_logits_give_finite_losses_and_gradients(beta: float, dtype: torch.dtype) -> None:
    """For ±60 and the largest numbers of a dtype, and for every quality from 0 to 1."""
    extremes = [-60.0, -20.0, -1e-3, 0.0, 1e-3, 20.0, 60.0, torch.finfo(dtype).max, torch.finfo(dtype).min]
    # Logits are limited to 1e37: the loss of larger ones may exceed the range of fp32, and is then infinite.
    values = torch.tensor([max(min(value, 1e37), -1e37) for value in extremes]).to(dtype)
    for quality in (0.0, 0.3, 0.5, 1.0):
        logits = values[:, None].clone().requires_grad_()
        loss = quality_focal_loss(logits, torch.full((len(values), 1), quality), beta)
        loss.sum().backward()
        assert loss.isfinite().all()
        assert logits.grad.isfinite().all()


@pytest.mark.parametrize("beta", BETAS)
def test_gradient_is_finite_where_the_score_equals_its_target(beta: float) -> None:
    logits = torch.zeros(1, 1, requires_grad=True)
    quality_focal_loss(logits, torch.full((1, 1), 0.5), beta).sum().backward()
    assert logits.grad.isfinite().all()
    probabilities = torch.tensor([[0.0, 0.5, 1.0]], requires_grad=True)
    loss = quality_focal_loss(probabilities, torch.tensor([[0.0, 0.5, 1.0]]), beta, activated=True)
    loss.sum().backward()
    assert loss.isfinite().all() and probabilities.grad.isfinite().all()


def random_positives(images: int, classes: int, sizes: list[tuple[int, int]], each: int) -> tuple[Positives, Tensor]:
    """Positives at distinct locations of each level, and their labels."""
    rows = []
    for level, (height, width) in enumerate(sizes):
        count = min(each, images * height * width)
        place = torch.randperm(images * height * width)[:count]
        rows.append((place // (height * width), torch.full_like(place, level), place % (height * width)))
    image, level, location = (torch.cat(parts) for parts in zip(*rows))
    positives = Positives(
        image=image,
        level=level,
        location=location,
        gt_index=torch.arange(len(image)),
        active=torch.ones(len(image), dtype=torch.bool),
        counts=tuple(len(row[0]) for row in rows),
    )
    return positives, torch.randint(0, classes, (len(image),))


@settings(max_examples=80)
@given(
    seed=st.integers(0, 2**31),
    beta=st.sampled_from([*BETAS, 3.3]),
    images=st.integers(1, 3),
    classes=st.integers(1, 90),
    sizes=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 60)), min_size=1, max_size=3),
    each=st.integers(0, 20),
    mean=st.sampled_from([-9.0, -4.6, 0.0, 100.0]),
    weighted=st.booleans(),
)
def test_sparse_form_follows_the_formula(
    seed: int,
    beta: float,
    images: int,
    classes: int,
    sizes: list[tuple[int, int]],
    each: int,
    mean: float,
    weighted: bool,
) -> None:
    """Loss and gradient of the sparse form equal those of the formula with a dense target, for any sizes."""
    torch.manual_seed(seed)
    logits = [(3 * torch.randn(images, classes, *size) + mean).requires_grad_() for size in sizes]
    positives, label = random_positives(images, classes, sizes, each)
    quality = torch.rand(len(label))
    weights = [torch.rand(images, *size) for size in sizes] if weighted else None
    losses = sparse_quality_focal_loss(logits, ClassTargets(positives, label, quality, ONE, weights), beta, 0.37)
    losses.sum().backward()

    parts = (positives.image, label, positives.location, quality)
    for number, rows in enumerate(zip(*(positives.per_level(part) for part in parts))):
        image, kind, location, score = rows
        target = torch.zeros_like(logits[number]).flatten(2).double()
        target[image, kind, location] = score.double()
        exact = logits[number].detach().double().requires_grad_()
        elements = formula(exact, target.view_as(exact), beta)
        if weighted:
            elements = elements * weights[number][:, None].double()
        expected = 0.37 * elements.sum()
        expected.backward()
        # Positives are first summed as negatives, which cancels where they are large as negatives.
        as_negatives = formula(exact.detach(), torch.zeros_like(exact), beta)
        if weighted:
            as_negatives = as_negatives * weights[number][:, None].double()
        rounding = 5e-7 * float(0.37 * as_negatives.sum())
        assert float(losses[number]) == pytest.approx(float(expected), rel=2e-6, abs=rounding + 1e-12)
        error = (logits[number].grad.double() - exact.grad).abs()
        assert (error <= 2e-5 * exact.grad.abs() + 1e-7 * exact.grad.abs().max() + 1e-30).all()


def test_inactive_rows_change_nothing() -> None:
    logits = [torch.randn(2, 3, 4, 5, requires_grad=True)]
    positives, label = random_positives(2, 3, [(4, 5)], 6)
    quality = torch.rand(6)
    sparse_quality_focal_loss(logits, ClassTargets(positives, label, quality, ONE)).sum().backward()
    expected, logits[0].grad = logits[0].grad, None
    doubled = Positives(
        image=positives.image.repeat(2),
        level=positives.level.repeat(2),
        location=positives.location.repeat(2),
        gt_index=positives.gt_index.repeat(2),
        active=torch.arange(12) < 6,
        counts=(12,),
    )
    qualities = torch.rand(12).index_copy(0, torch.arange(6), quality)
    sparse_quality_focal_loss(logits, ClassTargets(doubled, label.repeat(2), qualities, ONE)).sum().backward()
    assert torch.allclose(logits[0].grad, expected)


def test_backward_scales_and_may_run_twice() -> None:
    logits = [torch.randn(1, 3, 4, 5, requires_grad=True)]
    positives, label = random_positives(1, 3, [(4, 5)], 2)
    loss = sparse_quality_focal_loss(logits, ClassTargets(positives, label, torch.rand(2), ONE)).sum()
    (once,) = torch.autograd.grad(loss, logits, retain_graph=True)
    (thrice,) = torch.autograd.grad(3 * loss, logits)
    assert torch.allclose(3 * once, thrice)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            (torch.zeros(4), torch.zeros(4), torch.zeros(4)),
            r"a tuple of 3; the class loss takes the tuple \(label, score\)",
        ),
        (None, "a NoneType; the class loss takes"),
        (torch.zeros(3, 4), r"dense target must have pred's: \(4, 3\)"),
        (torch.zeros(4), r"labels alone.*gfl_plugin.RetinaQFLHead, FCOSQFLHead, FoveaQFLHead, SSDQFLHead.*DETR"),
        ((torch.zeros(4), torch.zeros(4, 3)), r"shapes \(4,\) and \(4, 3\); both must be \(4,\)"),
        ((torch.zeros(5), torch.zeros(4)), "both must be"),
    ],
)
def test_wrong_targets(target: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quality_focal_loss(torch.zeros(4, 3), target)


def test_wrong_settings() -> None:
    with pytest.raises(ValueError, match=r"pred has shape \(2, 3, 4, 5\); the class loss takes \(N, C\)"):
        quality_focal_loss(torch.zeros(2, 3, 4, 5), torch.zeros(2, 3, 4, 5))
    for beta in (-0.1, float("nan"), float("inf"), "2"):
        with pytest.raises(ValueError, match="finite number >= 0"):
            QualityFocalLoss(beta=beta)
    with pytest.raises(ValueError, match="use_sigmoid=True"):
        QualityFocalLoss(use_sigmoid=False)
    with pytest.raises(ValueError, match="reduction is 'avg'"):
        QualityFocalLoss(reduction="avg")
    loss = QualityFocalLoss()
    with pytest.raises(ValueError, match="reduction_override is 'max'"):
        loss(torch.zeros(4, 3), torch.zeros(4, 3), reduction_override="max")
    with pytest.raises(ValueError, match=r"one weight per row: \(4,\)"):
        loss(torch.zeros(4, 3), torch.zeros(4, 3), weight=torch.ones(4, 3))
    with pytest.raises(ValueError, match="avg_factor is given with reduction 'sum'"):
        loss(torch.zeros(4, 3), torch.zeros(4, 3), avg_factor=2.0, reduction_override="sum")
