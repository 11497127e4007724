"""The joint logit equals the logit of the product of two sigmoids, and so do its gradients."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gfl_plugin.ops import joint_logit as module
from gfl_plugin.ops.backend import use_backend
from gfl_plugin.ops.joint_logit import joint_logit

BACKENDS = ["torch"] + ["numba"] * bool(importlib.util.find_spec("numba"))
EXTREME = torch.tensor([-1e4, -88.0, -60.0, -1.0, 0.0, 1.0, 17.0, 60.0, 88.0, 1e4])


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each backend, which the test uses."""
    with use_backend(request.param):
        yield request.param


def _maps(shape: tuple[int, ...] = (2, 3, 4, 5), scale: float = 4.0) -> tuple[Tensor, Tensor]:
    images, _, height, width = shape
    return scale * torch.randn(shape), scale * torch.randn(images, 1, height, width)


def _all_pairs() -> tuple[Tensor, Tensor]:
    """Every extreme class logit with every extreme quality logit, as maps (1, 10, 1, 10) and (1, 1, 1, 10)."""
    size = len(EXTREME)
    return EXTREME.view(1, size, 1, 1).expand(1, size, 1, size), EXTREME.view(1, 1, 1, size)


def _slopes(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The slopes in fp64, with 1 - p = σ(-a) + σ(a)·σ(-b), which loses nothing where p is near 1."""
    a, b = a.double(), b.double()
    rest = (-a).sigmoid() + a.sigmoid() * (-b).sigmoid()
    return (-a).sigmoid() / rest, (-b).sigmoid() / rest


def test_equals_the_logit_of_the_product(backend: str) -> None:
    a, b = _maps()
    expected = (a.double().sigmoid() * b.double().sigmoid()).logit()
    torch.testing.assert_close(joint_logit(a, b), expected.float())


def test_sigmoid_of_the_result_is_the_product_at_extreme_logits(backend: str) -> None:
    a, b = _all_pairs()
    joint = joint_logit(a, b)
    assert joint.isfinite().all()
    torch.testing.assert_close(joint.sigmoid(), (a.double().sigmoid() * b.double().sigmoid()).float())


def test_gradients_equal_the_formulas(backend: str) -> None:
    a, b = (value.requires_grad_() for value in _maps())
    weight = torch.randn(a.shape)
    (joint_logit(a, b) * weight).sum().backward()
    slope_a, slope_b = _slopes(a.detach(), b.detach())
    torch.testing.assert_close(a.grad, (slope_a * weight).float())
    torch.testing.assert_close(b.grad, (slope_b * weight).sum(dim=1, keepdim=True).float())


def test_gradients_are_exact_at_extreme_logits(backend: str) -> None:
    a, b = (value.clone().requires_grad_() for value in _all_pairs())
    joint = joint_logit(a, b)
    slope_a, slope_b = torch.autograd.grad(joint.sum(), (a, b))
    pair_a, pair_b = _all_pairs()
    rest = pair_a.double() + pair_b.double()
    expected = torch.softmax(torch.stack([-pair_a.double(), (-pair_b.double()).expand(pair_a.shape), -rest]), dim=0)
    torch.testing.assert_close(slope_a, (expected[0] + expected[2]).float())
    torch.testing.assert_close(slope_b, (expected[1] + expected[2]).sum(dim=1, keepdim=True).float())


def test_passes_a_finite_difference_check() -> None:
    a, b = (value.double().requires_grad_() for value in _maps((2, 3, 2, 2), 2.0))
    assert torch.autograd.gradcheck(joint_logit, (a, b))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_fp32(dtype: torch.dtype) -> None:
    a, b = (value.to(dtype) for value in _maps())
    joint = joint_logit(a, b)
    assert joint.dtype == torch.float32
    torch.testing.assert_close(joint, joint_logit(a.float(), b.float()))


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 1, 5, 4), (2, 1, 4, 4), (2, 4, 5)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"it must be \(2, 1, 4, 5\), one quality per location"):
        joint_logit(torch.zeros(2, 3, 4, 5), torch.zeros(shape))


@pytest.mark.parametrize("name", BACKENDS)
@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**31),
    shape=st.tuples(st.integers(0, 3), st.integers(1, 9), st.integers(1, 40), st.integers(1, 60)),
    mean=st.sampled_from([-30.0, -4.6, 0.0, 30.0]),
    place=st.sampled_from(["contiguous", "channels_last", "every second column"]),
)
def test_equal_to_double_precision(
    name: str, seed: int, shape: tuple[int, int, int, int], mean: float, place: str
) -> None:
    torch.manual_seed(seed)
    images, classes, height, width = shape
    step = 2 if place == "every second column" else 1
    a = (5 * torch.randn(images, classes, height, width * step) + mean)[..., ::step]
    b = (5 * torch.randn(images, 1, height, width * step))[..., ::step]
    if place == "channels_last":
        a = a.contiguous(memory_format=torch.channels_last)
    weight = torch.randn(shape)
    a, b = a.requires_grad_(), b.requires_grad_()
    with use_backend(name):
        joint = joint_logit(a, b)
    of_a, of_b = torch.autograd.grad(joint, (a, b), weight)
    a, b = a.detach().double(), b.detach().double()
    torch.testing.assert_close(joint, (-torch.logsumexp(torch.stack([-a, -b + 0 * a, -a - b]), dim=0)).float())
    slope_a, slope_b = _slopes(a, b)
    torch.testing.assert_close(of_a, (slope_a * weight).float(), rtol=1e-5, atol=1e-30)
    expected = (slope_b * weight).sum(dim=1, keepdim=True)
    terms = (slope_b * weight).abs().sum(dim=1, keepdim=True)
    assert ((of_b - expected).abs() <= 1e-5 * terms + 1e-30).all()


def test_use_backend_chooses_the_kernel() -> None:
    logits = torch.zeros(1, 3, 2, 2)
    with use_backend("torch"):
        assert module._JOINT_LOGIT.for_tensor(logits) is module._composed
    if "numba" in BACKENDS:
        assert module._JOINT_LOGIT.for_tensor(logits) is not module._composed
        assert module._JOINT_LOGIT.for_tensor(logits.bfloat16()) is module._composed
