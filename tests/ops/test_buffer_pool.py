"""Freed buffers are pooled and reused, and reused memory is cleared for zeros."""

from __future__ import annotations

import gc
from collections import deque

import pytest
import torch

from gfl_plugin.ops import buffer_pool

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_freed_memory_is_reused(dtype: torch.dtype) -> None:
    shape = (3, 1000, 1001)
    first = buffer_pool.zeros(shape, dtype, CPU)
    assert first.shape == shape and first.dtype == dtype and not first.any()
    place = first.fill_(7).data_ptr()
    assert place % 64 == 0
    del first
    gc.collect()
    second = buffer_pool.empty(shape, dtype, CPU)
    assert second.data_ptr() == place and (second == 7).all()
    third = buffer_pool.zeros(shape, dtype, CPU)  # the second tensor uses the buffer
    assert third.data_ptr() != place
    view = second.view(-1)[5:]
    del second
    assert buffer_pool.zeros(shape, dtype, CPU).data_ptr() != place  # the view still uses the buffer
    del view
    assert not buffer_pool.zeros(shape, dtype, CPU).any()


def test_small_tensors_are_ordinary_ones() -> None:
    assert buffer_pool.zeros((2, 3), torch.float16, CPU).tolist() == [[0.0] * 3] * 2
    assert buffer_pool.empty((2, 3), torch.int64, CPU).shape == (2, 3)


def test_a_tensor_of_similar_size_reuses_memory() -> None:
    """The number of positives, and the size of their tensors, differ from step to step."""
    first = buffer_pool.empty((10_000, 68), torch.float32, CPU)
    place = first.data_ptr()
    del first
    second = buffer_pool.zeros((9_990, 68), torch.float32, CPU)
    assert second.data_ptr() == place and second.shape == (9_990, 68) and not second.any()
    assert second.untyped_storage().nbytes() == second.nbytes


def test_the_number_of_pooled_buffers_is_limited() -> None:
    tensors = [buffer_pool.empty((300_000,), torch.float32, CPU) for _ in range(40)]
    del tensors
    gc.collect()
    assert len(buffer_pool._free) == buffer_pool._KEPT


def test_another_thread_may_take_the_last_free_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    """It can do so between the look at the number of buffers and taking one."""

    class Taken(deque):
        def popleft(self) -> object:
            self.clear()
            return super().popleft()

    monkeypatch.setattr(buffer_pool, "_free", Taken([buffer_pool._new(2 << 20)]))
    assert not buffer_pool.zeros((1 << 19,), torch.float32, CPU).any()


def test_gradients_of_two_users_are_added_in_place() -> None:
    """A sum in new memory would cost more than the addition."""
    places = []

    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x: torch.Tensor) -> torch.Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx, grad: torch.Tensor) -> torch.Tensor:
            gradient = buffer_pool.empty(grad.shape, grad.dtype, CPU)
            torch.mul(grad, 2, out=gradient)
            places.append(gradient.data_ptr())
            return gradient

    leaf = torch.ones(2, 700, 500, requires_grad=True)
    (gradient,) = torch.autograd.grad((Doubled.apply(leaf) + Doubled.apply(leaf)).sum(), leaf)
    assert gradient.data_ptr() in places
    assert (gradient == 4).all()
