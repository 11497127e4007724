"""A score is selected if its fp32 sigmoid is above the threshold, for logits of every dtype."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from gfl_plugin.heads.select_topk import ScoredLocations, select_topk

THRESHOLDS = [1e-45, 1e-38, 1e-30, 1e-7, 0.001, 0.01, 0.05, 0.3, 0.5, 0.500006, 0.9, 0.999, 1 - 1e-5, 1 - 1e-7]
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Use one thread: for thousands of calls on small tensors, several threads take minutes on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def random_thresholds(count: int) -> list[float]:
    """In (0, 1): half of them anywhere, a quarter near 0 and a quarter near 1."""
    draw = random.Random(0)
    near_zero = [10 ** draw.uniform(-8, -1) for _ in range(count // 4)]
    return [draw.uniform(0, 1) for _ in range(count // 2)] + near_zero + [1 - value for value in near_zero]


def found_in(values: Tensor, threshold: float) -> list[int]:
    """Indices of the values, in one map of one class, whose scores are above the threshold."""
    return select_topk([values.view(1, 1, 1, -1)], threshold, -1).location.sort().values.tolist()


def differences(values: Tensor, threshold: float) -> int:
    """Number of values that are selected or omitted contrary to the definition.

    PyTorch's fp32 sigmoid on a CPU has two results, one computed in vectors and one computed element by element, as at
    the end of a tensor. If only one of them is above the threshold, a score may be selected or not.
    """
    found = torch.zeros(len(values), dtype=torch.bool)
    found[found_in(values, threshold)] = True
    single = values.float()
    in_vectors = torch.cat([single, torch.zeros(256)]).sigmoid()[: len(values)] > threshold
    one_by_one = torch.stack([single, single], dim=1)[:, 0].sigmoid() > threshold
    return int((~found & in_vectors & one_by_one).sum() + (found & ~in_vectors & ~one_by_one).sum())


def in_single(logits: list[Tensor], threshold: float, limit: int) -> ScoredLocations:
    """The selection for maps converted to fp32."""
    return select_topk([level.float() for level in logits], threshold, limit)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_every_value_of_a_half_precision_dtype(dtype: torch.dtype) -> None:
    """For all 65,536 bit patterns, including NaN and infinities, and for fixed and random thresholds."""
    values = torch.arange(-(2**15), 2**15).to(torch.int16).view(dtype)
    wrong = {}
    for threshold in THRESHOLDS + random_thresholds(80):
        if count := differences(values, threshold):
            wrong[threshold] = count
    assert not wrong, f"{sum(wrong.values())} wrong at {len(wrong)} thresholds: {wrong}"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_around_the_threshold(dtype: torch.dtype) -> None:
    """For neighbors of the threshold's logit, and for a fine grid of logits around it."""
    wrong = {}
    for threshold in THRESHOLDS + random_thresholds(400):
        values = around(threshold, dtype)
        if count := differences(values, threshold):
            wrong[threshold] = count
    assert not wrong, f"{sum(wrong.values())} wrong at {len(wrong)} thresholds: {wrong}"


def around(threshold: float, dtype: torch.dtype) -> Tensor:
    """(N,) 50 neighbors on each side of the threshold's logit, and a fine grid of the logits up to 2 away."""
    logit = torch.tensor(math.log(threshold) - math.log1p(-threshold), dtype=dtype)
    parts = [logit + torch.linspace(-2, 2, 4001, dtype=dtype), logit[None]]
    for end in (-math.inf, math.inf):
        value = logit
        for _ in range(50):
            value = torch.nextafter(value, torch.tensor(end, dtype=dtype))
            parts.append(value[None])
    return torch.cat(parts)


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_selection_does_not_depend_on_the_dtype(dtype: torch.dtype, threshold: float) -> None:
    """Image, level, label, location and score are those of the map converted to fp32."""
    logit = math.log(threshold) - math.log1p(-threshold)
    different = lost = 0
    for seed in range(30):
        torch.manual_seed(seed)
        logits = [(torch.randn(2, 3, *size) * 0.3 + logit).to(dtype) for size in [(23, 17), (6, 5), (1, 1)]]
        for limit in (-1, 40):
            found, expected = select_topk(logits, threshold, limit), in_single(logits, threshold, limit)
            lost += len(expected) - len(found)
            names = ScoredLocations.__dataclass_fields__
            same = all(torch.equal(getattr(found, name), getattr(expected, name)) for name in names)
            different += not same
    assert different == 0, f"{different} of 60 results differ; {lost} detections lost"


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_nan_does_not_affect_other_scores(dtype: torch.dtype) -> None:
    """NaN and -inf are not above the threshold, +inf is; other scores of the same block are still selected."""
    values = torch.full((1000,), -6.0, dtype=dtype)
    values[[3, 200, 999]] = 2.0
    values[[4, 300]] = math.nan
    values[[5, 400]] = -math.inf
    values[[6, 500, 998]] = math.inf
    assert found_in(values, 0.05) == [3, 6, 200, 500, 998, 999]


@pytest.mark.parametrize("threshold", [-1.0, 0.0, 1.0, 2.0])
@pytest.mark.parametrize("dtype", DTYPES)
def test_thresholds_outside_the_open_interval(dtype: torch.dtype, threshold: float) -> None:
    """A threshold below 0 selects every score except NaN, 0 every positive score, and 1 or more none."""
    values = torch.cat([torch.tensor([math.nan, -math.inf, -200, 0, 20, math.inf]), torch.randn(300)]).to(dtype)
    assert differences(values, threshold) == 0
