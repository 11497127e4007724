"""The mean under a softmax distribution equals its formula, and so does its gradient."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from kernels import BACKENDS, with_threads
from torch import Tensor

from gfl_plugin.ops.backend import use_backend
from gfl_plugin.ops.expected_value import expected_value


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each backend, which the test uses."""
    with use_backend(request.param):
        yield request.param


def computed(logits: Tensor, values: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
    """Means, and the gradient of their sum with factors."""
    leaf = logits.clone().requires_grad_()
    means = expected_value(leaf, values)
    (means * factor).sum().backward()
    return means.detach(), leaf.grad


@pytest.mark.parametrize(("rows", "bins"), [(0, 17), (1, 1), (1, 17), (63, 2), (64, 17), (211, 33)])
@pytest.mark.parametrize("scale", [1.0, 60.0])
def test_equals_the_formula_in_fp64(backend: str, rows: int, bins: int, scale: float) -> None:
    logits = scale * torch.randn(rows, 4, bins)
    values, factor = torch.randn(bins).sort().values, torch.randn(rows, 4)
    means, gradient = computed(logits, values, factor)
    probability = logits.double().softmax(dim=-1)
    expected = (probability * values).sum(dim=-1)
    slopes = probability * (values - expected[..., None]) * factor[..., None]
    torch.testing.assert_close(means, expected.float(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, slopes.float(), rtol=1e-5, atol=1e-5)


def test_equal_logits_of_any_size_give_the_mean_of_the_values(backend: str) -> None:
    values = torch.arange(17.0)
    for logit in (-3e38, -60.0, 0.0, 60.0, 3e38):
        torch.testing.assert_close(expected_value(torch.full((3, 17), logit), values), torch.full((3,), 8.0))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_logit_makes_its_own_row_nan_and_no_other(backend: str, bad: float) -> None:
    logits = torch.randn(70, 17)
    logits[5, 0] = logits[68, 16] = bad
    means, gradient = computed(logits, torch.arange(17.0), torch.ones(70))
    expected = torch.zeros(70, dtype=torch.bool)
    expected[[5, 68]] = True
    assert torch.equal(means.isnan(), expected) and torch.equal(gradient.isnan().all(dim=1), expected)
    assert torch.equal(gradient.isnan().any(dim=1), expected)


def test_a_gradient_can_be_added_twice(backend: str) -> None:
    leaf, values = torch.randn(9, 17, requires_grad=True), torch.arange(17.0)
    total = expected_value(leaf, values).sum()
    (first,) = torch.autograd.grad(total, leaf, retain_graph=True)
    kept = first.clone()
    first.mul_(3)
    (second,) = torch.autograd.grad(total, leaf)
    assert torch.equal(second, kept)


@pytest.mark.skipif("numba" not in BACKENDS, reason="Numba is not installed")
def test_numbas_result_does_not_depend_on_threads_and_has_one_derivative() -> None:
    logits, values, factor = torch.randn(1000, 17), torch.arange(17.0), torch.randn(1000)
    with use_backend("numba"):
        one, two = (with_threads(count, lambda: computed(logits, values, factor)) for count in (1, 2))
        assert all(torch.equal(a, b) for a, b in zip(one, two))
        leaf = logits.clone().requires_grad_()
        (slope,) = torch.autograd.grad(expected_value(leaf, values).square().sum(), leaf, create_graph=True)
        with pytest.raises(RuntimeError, match="once_differentiable"):
            slope.sum().backward()
