"""The best class scores of each level and image equal those of a loop over levels and images."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gfl_plugin.heads.candidate_logits import candidates
from gfl_plugin.heads.select_topk import ScoredLocations, select_topk
from gfl_plugin.ops.backend import installed, use_backend


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    images=st.integers(1, 3),
    classes=st.integers(1, 4),
    sizes=st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=1, max_size=3),
    threshold=st.sampled_from([0.0, 0.05, 0.5, 0.99, 1.0]),
    limit=st.sampled_from([-1, 1, 5]),
)
def test_the_best_of_each_level_and_image(
    seed: int, images: int, classes: int, sizes: list[tuple[int, int]], threshold: float, limit: int
) -> None:
    """For maps of any size, a multiple of the block size or not."""
    torch.manual_seed(seed)
    logits = [3 * torch.randn(images, classes, *size) for size in sizes]
    found = select_topk(logits, threshold, limit)
    rows = []
    for image in range(images):
        for number, level in enumerate(logits):
            scores = level[image].flatten(1).sigmoid()
            label, location = (scores > threshold).nonzero(as_tuple=True)
            score, order = scores[label, location].sort(descending=True, stable=True)
            order = order[:limit] if limit > 0 else order
            rows += [
                (image, number, int(label[i]), int(location[i]), float(scores[label[i], location[i]])) for i in order
            ]
    columns = (found.image, found.level, found.label, found.location, found.score)
    answer = list(zip(*(column.tolist() for column in columns)))
    assert [row[:4] for row in answer] == [row[:4] for row in rows]
    # A CPU's sigmoid in vectors may differ in the last bit from that of the remaining elements.
    assert [row[4] for row in answer] == pytest.approx([row[4] for row in rows], rel=2e-7)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**31),
    size=st.integers(1, 6000),
    limit=st.integers(1, 40),
    # all different; many equal ones, so that the bound is one of them; the best ones next to each other
    kind=st.sampled_from(["random", "equal", "sorted"]),
    threshold=st.sampled_from([0.0, 1e-4, 0.5]),
)
def test_the_best_of_many_scores_above_the_threshold(
    seed: int, size: int, limit: int, kind: str, threshold: float
) -> None:
    """Score and order are those of sorting all scores, with infinities and NaN among the logits."""
    torch.manual_seed(seed)
    values = 4 * torch.randn(2, size)
    if kind == "equal":
        values = values.round()
    if kind == "sorted":
        values = values.sort(dim=1).values
    values[torch.rand(2, size) < 0.01] = torch.nan
    values[torch.rand(2, size) < 0.01] = -torch.inf
    found = select_topk([values.view(2, 1, 1, size)], threshold, limit)
    for image, row in enumerate(values):
        scores = row.double().sigmoid().nan_to_num(nan=-1)
        expected = scores.sort(descending=True, stable=True)
        count = min(limit, int((scores > threshold).sum()))
        own = found.image == image
        assert found.score[own].tolist() == pytest.approx(expected.values[:count].tolist(), rel=1e-6)
        if kind == "equal":  # the places are unambiguous, although scores of fp32 are rounded
            assert found.location[own].tolist() == expected.indices[:count].tolist()


@pytest.mark.parametrize("threshold", [0.0, 1e-3])
def test_few_candidates_are_sorted(threshold: float) -> None:
    """Of 200,000 logits whose scores are nearly all above the threshold, little more than the wanted ones."""
    torch.manual_seed(0)
    values = torch.randn(3, 200_000) - 3
    index, _ = candidates(values, threshold, 500)
    assert 3 * 500 <= len(index) < 3 * 500 * 1.6


@pytest.mark.skipif(not installed("numba"), reason="needs Numba")
@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**31),
    sizes=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=2),
    limit=st.sampled_from([-1, 1, 5, 30]),
    kind=st.sampled_from(["random", "equal", "not contiguous"]),
)
def test_selection_does_not_depend_on_the_backend(
    seed: int, sizes: list[tuple[int, int]], limit: int, kind: str
) -> None:
    """Each field has the same bits, with NaN and infinities in blocks and behind the last block."""
    torch.manual_seed(seed)
    logits = [2 * torch.randn(2, 3, *size) for size in sizes]
    for level in logits:
        for value in (torch.nan, torch.inf, -torch.inf):
            level[torch.rand(level.shape) < 0.01] = value
    if kind == "equal":
        logits = [level.round() for level in logits]
    if kind == "not contiguous":
        logits = [level.transpose(2, 3) for level in logits]
    with use_backend("torch"):
        expected = select_topk(logits, 0.05, limit)
    with use_backend("numba"):
        found = select_topk(logits, 0.05, limit)
    for name in ScoredLocations.__dataclass_fields__:
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
