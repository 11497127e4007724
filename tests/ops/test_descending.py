"""The order of scores within groups is that of two stable sorts, whatever path computes it."""

from __future__ import annotations

import math
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gfl_plugin.ops.descending as module
from gfl_plugin.ops.descending import descending


@settings(max_examples=30)
@given(
    scores=st.lists(
        st.one_of(
            st.sampled_from([0.0, -0.0, 0.5, -1.0, math.inf, -math.inf, math.nan, -math.nan, 1e-45, -1e-45]),
            st.floats(width=32),
        ),
        max_size=30,
    ),
    seed=st.integers(0, 2**31),
    number=st.sampled_from([None, 1, 3, 2**40]),  # keys of 2^40 groups do not fit into an integer
)
def test_order_is_that_of_stable_sorts(scores: list[float], seed: int, number: int | None) -> None:
    """With equal scores, both zeros, infinities, NaN of both signs, and subnormal numbers."""
    torch.manual_seed(seed)
    values = torch.tensor(scores, dtype=torch.float32)
    groups = None if number is None else torch.randint(number, (len(scores),))
    order = values.double().sort(descending=True, stable=True).indices
    if groups is not None:
        order = order[groups[order].sort(stable=True).indices]
    assert descending(values, groups).tolist() == order.tolist()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_order_does_not_depend_on_the_path(dtype: torch.dtype) -> None:
    """Many equal scores, sorted as one integer per score (fp32) and by two sorts."""
    torch.manual_seed(0)
    scores, groups = torch.randint(-50, 50, (3000,)).to(dtype), torch.randint(7, (3000,))
    found = descending(scores, groups)
    with mock.patch.object(module, "_packed_order", lambda *arguments: None):
        expected = descending(scores, groups)
    assert torch.equal(found, expected)
