"""DFL equals its formula and MMDetection's loss for any bins, and rejects invalid input."""

from __future__ import annotations

import importlib
from unittest import mock

import pytest
import torch
from cases import record
from hypothesis import given
from hypothesis import strategies as st
from kernels import BACKENDS, with_threads
from mmdet.models.losses import DistributionFocalLoss as MMDetDistributionFocalLoss
from torch import Tensor

from gfl_plugin.losses import DistributionFocalLoss, distribution_focal_loss
from gfl_plugin.ops.backend import use_backend


@pytest.mark.parametrize("first", [0.0, -3.0, 0.25])
@pytest.mark.parametrize("n", [1, 8, 16])
@pytest.mark.parametrize("step", [0.5, 1.0, 4.0])
def test_formula(first: float, n: int, step: float) -> None:
    """The loss equals Eq. 6 of the paper in fp64, also for targets on bins and at both ends of the range."""
    logits = torch.randn(50, n + 1)
    target = first + step * n * torch.rand(50)
    target[:3] = torch.tensor([first, first + n * step, first + step * (n // 2)])
    log_probability = logits.double().log_softmax(dim=1)
    bins = [first + step * i for i in range(n + 1)]
    expected = []
    for row, y in enumerate(target.double().tolist()):
        i = min(max(k for k in range(n + 1) if bins[k] <= y + 1e-9), n - 1)
        left, right = log_probability[row, i], log_probability[row, i + 1]
        expected.append(-((bins[i + 1] - y) * left + (y - bins[i]) * right) / step)
    found = distribution_focal_loss(logits, target, first, step)
    assert torch.allclose(found.double(), torch.stack(expected), rtol=1e-5, atol=1e-5)


@given(
    st.floats(-2, 2).map(lambda value: round(value, 2)),
    st.floats(0.05, 2).map(lambda value: round(value, 2)),
    st.sampled_from([1, 4, 8, 16, 32]),
)
def test_both_ends_of_the_bins_are_inside_whatever_their_rounding(first: float, step: float, n: int) -> None:
    """A target on the first or the last bin has the loss of that bin alone, and one clearly outside is an error."""
    logits = torch.randn(2, n + 1)
    found = distribution_focal_loss(logits, torch.tensor([first, first + n * step]), first, step)
    log_probability = logits.double().log_softmax(dim=1)
    expected = -torch.stack([log_probability[0, 0], log_probability[1, n]]).float()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
    for outside in (first - 0.001 * step, first + (n + 0.001) * step):
        with pytest.raises(ValueError, match="1 of 2 targets lie outside"):
            distribution_focal_loss(logits, torch.tensor([first, outside]), first, step)


def test_where_the_host_cannot_read_targets_those_outside_give_nan() -> None:
    """As on a GPU. The target on the last bin is beyond it in fp32."""
    logits, target = torch.randn(4, 9), torch.tensor([0.18, 0.19, 0.19 + 8 * 1.64, 13.4])
    module = importlib.import_module("gfl_plugin.losses.distribution_focal_loss")
    with mock.patch.object(module, "on_host", lambda tensor: False), use_backend("torch"):
        found = distribution_focal_loss(logits, target, 0.19, 1.64)
    assert found.isnan().tolist() == [True, False, False, True]
    torch.testing.assert_close(found[1:3], distribution_focal_loss(logits[1:3], target[1:3], 0.19, 1.64))


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_equal_to_mmdetection(reduction: str) -> None:
    logits, target, weight = torch.randn(60, 17), 15.9 * torch.rand(60), torch.rand(60)
    avg_factor = 4.0 if reduction == "mean" else None
    results = []
    for kind in (MMDetDistributionFocalLoss, DistributionFocalLoss):
        pred = logits.clone().requires_grad_()
        loss = kind(reduction=reduction, loss_weight=0.25)(pred, target, weight, avg_factor=avg_factor)
        loss.sum().backward()
        results.append((loss.detach(), pred.grad))
    (expected, expected_grad), (found, found_grad) = results
    assert torch.allclose(found, expected, rtol=1e-5)
    difference = (found_grad - expected_grad).abs().max() / expected_grad.abs().max()
    assert record("DFL module: gradients, of the largest", difference) <= 1e-6


def losses_and_gradient(logits: Tensor, target: Tensor, backend: str) -> tuple[Tensor, Tensor]:
    """DFL of rows, and the gradient of their sum with the factors 1, 2, ..."""
    leaf = logits.clone().requires_grad_()
    with use_backend(backend):
        losses = distribution_focal_loss(leaf, target)
        (losses * torch.arange(1.0, len(losses) + 1)).sum().backward()
    return losses.detach(), leaf.grad


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("rows", "n"), [(0, 16), (1, 1), (65, 16), (200, 7)])
@pytest.mark.parametrize("scale", [1.0, 60.0])
def test_each_kernel_equals_the_formula_in_fp64(backend: str, rows: int, n: int, scale: float) -> None:
    """Targets lie between bins, on bins, and at both ends."""
    logits, target = scale * torch.randn(rows, n + 1), n * torch.rand(rows)
    target[: rows // 3] = target[: rows // 3].round()
    target[-1:], target[-2:-1] = n, 0
    left = target.long().clamp(max=n - 1)
    weights = torch.zeros(rows, n + 1, dtype=torch.float64)
    weights[torch.arange(rows), left] = 1 - (target - left).double()
    weights[torch.arange(rows), left + 1] = (target - left).double()
    log_probability = logits.double().log_softmax(dim=1)
    factor = torch.arange(1.0, rows + 1)[:, None]
    losses, gradient = losses_and_gradient(logits, target, backend)
    torch.testing.assert_close(losses, -(weights * log_probability).sum(dim=1).float(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient / factor, (log_probability.exp() - weights).float(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_nan_logit_makes_its_own_row_nan_and_no_other(backend: str) -> None:
    logits = torch.randn(70, 17)
    logits[66, 3] = float("nan")
    losses, gradient = losses_and_gradient(logits, 15 * torch.rand(70), backend)
    assert losses.isnan().nonzero().tolist() == [[66]]
    assert gradient.isnan().any(dim=1).nonzero().tolist() == gradient.isnan().all(dim=1).nonzero().tolist() == [[66]]


@pytest.mark.skipif("numba" not in BACKENDS, reason="Numba is not installed")
def test_the_compiled_loss_does_not_depend_on_threads_and_has_one_derivative() -> None:
    logits, target = torch.randn(500, 17), 16 * torch.rand(500)
    one, two = (with_threads(count, lambda: losses_and_gradient(logits, target, "numba")) for count in (1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one, two))
    leaf = logits.requires_grad_()
    with use_backend("numba"):
        loss = distribution_focal_loss(leaf, target).square().sum()
    (slope,) = torch.autograd.grad(loss, leaf, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


def test_minimum_has_all_probability_on_the_two_bins_around_the_target() -> None:
    """The gradient is 0 if the two bins have the probabilities (y_{i+1} - y)/Δ and (y - y_i)/Δ."""
    probability = torch.full((1, 5), 1e-9)
    probability[0, 2], probability[0, 3] = 0.7, 0.3
    logits = probability.log().requires_grad_()
    distribution_focal_loss(logits, torch.tensor([2.3])).sum().backward()
    assert logits.grad.abs().max() < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_extreme_logits_give_finite_losses_and_gradients(dtype: torch.dtype) -> None:
    logits = torch.tensor([[60.0, -60.0, 0.0], [torch.finfo(torch.float16).max, 0.0, -60.0]]).to(dtype).requires_grad_()
    loss = distribution_focal_loss(logits, torch.tensor([2.0, 0.5]))
    loss.sum().backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite().all() and logits.grad.isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(4), torch.zeros(4)), r"logits have shape \(4,\); DFL takes \(N, n \+ 1\)"),
        ((torch.zeros(4, 1), torch.zeros(4)), "n >= 1"),
        ((torch.zeros(4, 9), torch.zeros(4, 1)), r"one distance per row of logits: \(4,\)"),
        (
            (torch.zeros(2, 9), torch.tensor([1.0, 8.5])),
            r"1 of 2 targets lie outside the bins \[0, 8\] \(the first: 8.5\)",
        ),
        ((torch.zeros(2, 9), torch.tensor([float("nan"), 2.0])), "1 of 2 targets lie outside"),
        ((torch.zeros(2, 9), torch.zeros(2), 0.0, 0.0), "step is 0.0"),
        ((torch.zeros(2, 9), torch.zeros(2), float("inf")), "first is inf"),
    ],
)
def test_wrong_input(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        distribution_focal_loss(*arguments)
