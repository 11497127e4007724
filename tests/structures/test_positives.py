"""Positives and ground truths as flat lists."""

from __future__ import annotations

import pytest
import torch
from kernels import BACKENDS, with_threads
from mmengine.structures import InstanceData
from torch import Tensor

from gfl_plugin.ops.backend import use_backend
from gfl_plugin.ops.buffer_pool import zeros
from gfl_plugin.structures.ground_truths import GroundTruths
from gfl_plugin.structures.positives import Positives, gather_locations, highest_at_locations


@pytest.mark.parametrize("backend", BACKENDS)
def test_gather_and_its_gradient_equal_indexing(backend: str) -> None:
    """For positives with an inactive row that has the location of an active one; indexed is a permuted copy."""
    maps = [torch.randn(2, 3, 4, 5, requires_grad=True), torch.randn(2, 3, 2, 2, requires_grad=True)]
    positives = Positives(
        image=torch.tensor([0, 1, 1, 0]),
        level=torch.tensor([0, 0, 0, 1]),
        location=torch.tensor([7, 19, 19, 3]),
        gt_index=torch.arange(4),
        active=torch.tensor([True, True, False, True]),
        counts=(3, 1),
    )
    with use_backend(backend):
        rows = gather_locations(maps, positives)
    copies = [level.permute(0, 2, 3, 1).reshape(2, -1, 3) for level in maps]
    expected = torch.stack([copies[lv][i, j] for lv, i, j in zip((0, 0, 0, 1), (0, 1, 1, 0), (7, 19, 19, 3))])
    assert torch.equal(rows, expected)
    factor = torch.randn_like(rows)
    found = torch.autograd.grad((rows * factor).sum(), maps)
    wanted = torch.autograd.grad((expected * factor * positives.active[:, None]).sum(), maps)
    for a, b in zip(found, wanted):
        assert torch.allclose(a, b)


def scattered_positives(count: int) -> Positives:
    """Distinct positives in any order of images, on the first two of three levels of (3, D, 9, 11) maps."""
    chosen = torch.randperm(2 * 3 * 99)[:count]
    level, image, location = chosen // 297, chosen // 99 % 3, chosen % 99
    return Positives.of(image, level, location, torch.arange(count), num_levels=3)


def values_and_gradients(maps: list[Tensor], positives: Positives, backend: str) -> list[Tensor]:
    """Rows, their highest values, and the gradients of the rows' cubes."""
    leaves = [level.detach().clone().requires_grad_() for level in maps]
    with use_backend(backend):
        rows, highest = gather_locations(leaves, positives), highest_at_locations(leaves, positives)
        rows.pow(3).sum().backward()
    assert not highest.requires_grad
    return [rows.detach(), highest, *(leaf.grad for leaf in leaves)]


@pytest.mark.skipif("numba" not in BACKENDS, reason="Numba is not installed")
@pytest.mark.parametrize("count", [0, 1, 200])
@pytest.mark.parametrize("channels", [1, 17])
def test_the_compiled_loops_equal_pytorchs_operations(count: int, channels: int) -> None:
    """Also with NaN, infinite values and channels that are last in memory, for one thread and for two."""
    positives = scattered_positives(count)
    maps = [torch.randn(3, channels, 9, 11) for _ in range(3)]
    maps[0][1, channels // 2, 3] = float("nan")
    maps[1][:, :, 4] = float("-inf")
    maps[1] = maps[1].to(memory_format=torch.channels_last)
    expected = values_and_gradients(maps, positives, "torch")
    for threads in (1, 2):
        found = with_threads(threads, lambda: values_and_gradients(maps, positives, "numba"))
        for a, b in zip(found, expected):
            torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


@pytest.mark.skipif("numba" not in BACKENDS, reason="Numba is not installed")
def test_the_compiled_gradient_of_rows_has_one_derivative() -> None:
    maps = [torch.randn(3, 2, 9, 11, requires_grad=True) for _ in range(3)]
    with use_backend("numba"):
        rows = gather_locations(maps, scattered_positives(5))
    (slope, *_) = torch.autograd.grad(rows.square().sum(), maps, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


def test_ground_truths_are_flat_and_finite() -> None:
    instances = [
        InstanceData(bboxes=torch.tensor([[0.0, 0.0, 4.0, 4.0], [float("nan"), 0, 1, 1]]), labels=torch.tensor([2, 3])),
        InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)),
        InstanceData(bboxes=torch.tensor([[1.0, 1.0, 1.0, 5.0]]), labels=torch.tensor([1])),
    ]
    truths = GroundTruths.of(instances, torch.device("cpu"))
    assert truths.counts == (2, 0, 1) and len(truths) == 3
    assert truths.image.tolist() == [0, 0, 2]
    assert truths.labels.tolist() == [2, 3, 1]
    assert truths.empty.tolist() == [False, True, True]
    assert truths.boxes.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_zeros_are_zero_and_writable(dtype: torch.dtype) -> None:
    memory = zeros((3, 5, 7), dtype, torch.device("cpu"))
    assert memory.dtype == dtype and memory.shape == (3, 5, 7) and not memory.any()
    memory += 1
    assert (memory == 1).all()
