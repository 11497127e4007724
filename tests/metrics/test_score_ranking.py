"""Correlations equal SciPy's, also with equal values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr

from gfl_plugin.metrics.score_ranking import pearson, spearman


@settings(max_examples=60)
@given(seed=st.integers(0, 2**31), count=st.integers(3, 60), decimals=st.sampled_from([1, 15]))
def test_equal_to_scipy(seed: int, count: int, decimals: int) -> None:
    random = np.random.default_rng(seed)
    scores = np.round(random.random(count), decimals)
    iou = np.round(0.5 * scores + random.random(count), decimals)
    if len(np.unique(scores)) > 1 and len(np.unique(iou)) > 1:
        assert pearson(scores, iou) == pytest.approx(pearsonr(scores, iou).statistic, abs=1e-12)
        assert spearman(scores, iou) == pytest.approx(spearmanr(scores, iou).statistic, abs=1e-12)


def test_an_order_is_kept_or_reversed() -> None:
    """Spearman's correlation is 1 for any growing relation; Pearson's only for a line."""
    scores = np.linspace(0.1, 0.9, 20)
    assert spearman(scores, scores**9) == pytest.approx(1)
    assert spearman(scores, -(scores**9)) == pytest.approx(-1)
    assert pearson(scores, 0.2 + 0.3 * scores) == pytest.approx(1)
    assert pearson(scores, scores**9) < 0.9


@pytest.mark.parametrize("values", [[], [0.5], [0.5, 0.5, 0.5]])
def test_fewer_than_two_different_values(values: list[float]) -> None:
    other = np.arange(len(values), dtype=float)
    with np.errstate(all="raise"):
        assert math.isnan(pearson(np.array(values), other))
        assert math.isnan(spearman(other, np.array(values)))
