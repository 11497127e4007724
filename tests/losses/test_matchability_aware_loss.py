"""The matchability-aware loss equals its formula in both forms, and is finite for extreme logits."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from losses.test_quality_focal_loss import dense, labels_and_scores, random_positives
from torch import Tensor
from torch.nn.functional import logsigmoid, one_hot

from gfl_plugin.losses import MatchabilityAwareLoss, matchability_aware_loss
from gfl_plugin.structures.class_targets import ClassTargets

GAMMAS = [0.0, 0.5, 1.0, 1.5, 2.0]


def formula(logits: Tensor, quality: Tensor, positive: Tensor, gamma: float) -> Tensor:
    """The paper's equation, elementwise, in fp64; log(1 - p) is written without cancellation."""
    x, target = logits.double(), quality.double().pow(gamma)
    log_p, log_rest = logsigmoid(x), logsigmoid(-x)
    return torch.where(positive, -target * log_p - (1 - target) * log_rest, -(gamma * log_p).exp() * log_rest)


def positives_of(label: Tensor, classes: int) -> Tensor:
    return one_hot(label, classes + 1)[:, :classes].bool()


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("form", ["label and score", "dense"])
def test_loss_and_gradient_follow_the_formula(gamma: float, form: str) -> None:
    logits = (4 * torch.randn(64, 5)).requires_grad_()
    label, score = labels_and_scores(64, 5)
    if form == "label and score":
        score[::7] = 0.0  # a positive remains one, even if its box misses the object
        target = (label, score)
    else:
        target = dense(label, score, 5)
    loss = matchability_aware_loss(logits, target, gamma)
    loss.sum().backward()
    exact = logits.detach().double().requires_grad_()
    expected = formula(exact, dense(label, score, 5), positives_of(label, 5), gamma).sum(dim=1)
    expected.sum().backward()
    assert torch.allclose(loss.double(), expected, rtol=2e-6)
    assert torch.allclose(logits.grad.double(), exact.grad, rtol=1e-5, atol=1e-7)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    gamma=st.sampled_from(GAMMAS),
    classes=st.integers(1, 20),
    sizes=st.lists(st.tuples(st.integers(1, 20), st.integers(1, 30)), min_size=1, max_size=3),
    each=st.integers(0, 20),
    mean=st.sampled_from([-9.0, -4.6, 0.0]),
    weighted=st.booleans(),
)
def test_sparse_form_follows_the_formula(
    seed: int, gamma: float, classes: int, sizes: list[tuple[int, int]], each: int, mean: float, weighted: bool
) -> None:
    torch.manual_seed(seed)
    logits = [(3 * torch.randn(2, classes, *size) + mean).requires_grad_() for size in sizes]
    positives, label = random_positives(2, classes, sizes, each)
    quality = torch.rand(len(label)) * (torch.rand(len(label)) > 0.2)
    weights = [torch.rand(2, *size) for size in sizes] if weighted else None
    loss = MatchabilityAwareLoss(gamma=gamma, loss_weight=0.37)
    sums = loss.sparse(logits, ClassTargets(positives, label, quality, torch.tensor(3.0), weights))
    sums.sum().backward()
    parts = (positives.image, label, positives.location, quality)
    for number, (image, kind, location, score) in enumerate(zip(*(positives.per_level(part) for part in parts))):
        target = torch.zeros_like(logits[number]).flatten(2)
        positive = torch.zeros_like(target, dtype=torch.bool)
        target[image, kind, location], positive[image, kind, location] = score, True
        exact = logits[number].detach().double().requires_grad_()
        factor = 0.37 / 3 * (1.0 if weights is None else weights[number][:, None].double())
        expected = (factor * formula(exact, target.view_as(exact), positive.view_as(exact), gamma)).sum()
        expected.backward()
        # Positives are first summed as negatives, which cancels where they are large as negatives.
        negatives = formula(exact.detach(), torch.zeros_like(exact), torch.zeros_like(exact, dtype=torch.bool), gamma)
        rounding = 5e-7 * float((factor * negatives).sum())
        assert float(sums[number]) == pytest.approx(float(expected), rel=2e-6, abs=rounding + 1e-12)
        error = (logits[number].grad.double() - exact.grad).abs()
        assert (error <= 2e-5 * exact.grad.abs() + 1e-7 * exact.grad.abs().max() + 1e-30).all()


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_extreme_logits_give_finite_losses_and_gradients(gamma: float, dtype: torch.dtype) -> None:
    values = torch.tensor([-6e4, -120.0, -60.0, -20.0, 0.0, 20.0, 60.0, 120.0, 6e4]).to(dtype)
    for label, score in ((0, 0.0), (0, 0.3), (0, 1.0), (1, 0.0)):
        rows = values[:, None].clone().requires_grad_()
        target = (torch.full((len(values),), label), torch.full((len(values),), score))
        loss = matchability_aware_loss(rows, target, gamma)
        loss.sum().backward()
        level = values.view(1, 1, 3, 3).clone().requires_grad_()
        positives, _ = random_positives(1, 1, [(3, 3)], 9 if label == 0 else 0)
        quality = torch.full((len(positives.image),), score)
        targets = ClassTargets(positives, torch.zeros_like(positives.image), quality, torch.tensor(1.0))
        sums = MatchabilityAwareLoss(gamma=gamma).sparse([level], targets)
        sums.sum().backward()
        for found in (loss, rows.grad, sums, level.grad):
            assert found.isfinite().all()


def test_wrong_settings() -> None:
    for gamma in (-0.1, float("nan"), "1"):
        with pytest.raises(ValueError, match="gamma is .*; it must be a finite number >= 0"):
            MatchabilityAwareLoss(gamma=gamma)
    with pytest.raises(ValueError, match="MatchabilityAwareLoss has use_sigmoid=False.*write use_sigmoid=True"):
        MatchabilityAwareLoss(use_sigmoid=False)
    with pytest.raises(ValueError, match="both must be"):
        matchability_aware_loss(torch.zeros(4, 3), (torch.zeros(5), torch.zeros(5)))
