"""Every kernel of the overlaps equals the definition in fp64, and autograd's gradient also where sides coincide."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from kernels import BACKENDS, with_threads
from torch import Tensor

from gfl_plugin.ops.backend import use_backend
from gfl_plugin.ops.box_geometry import aligned_giou, aligned_iou

COMPILED = pytest.mark.skipif("numba" not in BACKENDS, reason="Numba is not installed")
OVERLAPS = pytest.mark.parametrize("overlap", [aligned_iou, aligned_giou])


def boxes(count: int) -> tuple[Tensor, Tensor]:
    """Separate, nested, touching, equal and empty boxes; half of them have sides that coincide."""
    corners = (8 * torch.rand(2, count, 2, 2)).sort(dim=2).values.flatten(2)
    corners[:, ::2] = corners[:, ::2].round()
    corners[1, ::5] = corners[0, ::5]
    return corners[0], corners[1]


def computed(overlap: Callable[..., Tensor], pair: tuple[Tensor, Tensor], backend: str) -> list[Tensor]:
    """Values, and the gradients of their sum with respect to both boxes."""
    leaves = [part.clone().requires_grad_() for part in pair]
    with use_backend(backend):
        values = overlap(*leaves)
        values.sum().backward()
    return [values.detach(), *(leaf.grad for leaf in leaves)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_equal_to_the_definitions(backend: str) -> None:
    pair = boxes(300)
    a, b = (part.double() for part in pair)
    inner = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(dim=1)
    outer = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(dim=1)
    union = (a[:, 2:] - a[:, :2]).prod(dim=1) + (b[:, 2:] - b[:, :2]).prod(dim=1) - inner
    large = union > 1e-3
    with use_backend(backend):
        iou, giou = aligned_iou(*pair), aligned_giou(*pair)
    torch.testing.assert_close(iou[large], (inner / union)[large].float(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(giou[large], (inner / union - 1 + union / outer)[large].float(), rtol=1e-5, atol=1e-5)


@COMPILED
@OVERLAPS
@pytest.mark.parametrize("count", [0, 1, 600])
def test_the_compiled_values_and_gradients_are_autograds(overlap: Callable[..., Tensor], count: int) -> None:
    pair = boxes(count)
    values, *gradients = computed(overlap, pair, "numba")
    expected, *wanted = computed(overlap, pair, "torch")
    assert torch.equal(values, expected)
    for found, right in zip(gradients, wanted):
        torch.testing.assert_close(found, right, rtol=1e-5, atol=1e-6)


@COMPILED
@OVERLAPS
def test_a_nan_side_makes_its_own_row_nan_and_no_other(overlap: Callable[..., Tensor]) -> None:
    for side in range(4):
        pair = boxes(5)
        pair[0][2, side] = float("nan")
        values, gradient, _ = computed(overlap, pair, "numba")
        assert values.isnan().tolist() == gradient.isnan().any(dim=1).tolist() == [False, False, True, False, False]


@COMPILED
@OVERLAPS
def test_shapes_are_broadcast_and_threads_have_no_effect(overlap: Callable[..., Tensor]) -> None:
    pair = boxes(1200)
    one, two = (with_threads(count, lambda: computed(overlap, pair, "numba")) for count in (1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one, two))
    single = (pair[0].view(300, 4, 4), pair[1][:1])
    for found, right in zip(computed(overlap, single, "numba"), computed(overlap, single, "torch")):
        assert found.shape == right.shape
        torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-4)
