"""The selection of files, with static shapes, is that of the plugin's prediction."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gfl_plugin.export.best_places import best_places
from gfl_plugin.heads.select_topk import select_topk


@settings(max_examples=100)
@given(
    seed=st.integers(0, 2**31),
    images=st.integers(1, 3),
    classes=st.integers(1, 5),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    topk=st.integers(1, 40),
)
def test_the_same_classes_places_and_scores_as_select_topk(
    seed: int, images: int, classes: int, size: tuple[int, int], topk: int
) -> None:
    """All logits differ, so that there are no ties; places that a level lacks have scores of 0."""
    count = images * classes * size[0] * size[1]
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    logits = (order.float() / count * 12 - 6).view(images, classes, *size)
    found, expected = best_places(logits, 1, topk), select_topk([logits], 0.0, topk)
    assert found.logit.shape == (images, topk)
    exists = found.logit > -torch.inf
    assert exists.sum(dim=1).tolist() == [min(topk, count // images)] * images
    torch.testing.assert_close(found.logit[exists].sigmoid(), expected.score)
    assert found.label[exists].tolist() == expected.label.tolist()
    assert found.cell[exists].tolist() == expected.location.tolist()


@settings(max_examples=50)
@given(seed=st.integers(0, 2**31), priors=st.integers(1, 4), classes=st.integers(1, 3), topk=st.integers(1, 30))
def test_values_belong_to_the_prior_and_the_cell(seed: int, priors: int, classes: int, topk: int) -> None:
    """For several priors per cell, in MMDetection's order of channels."""
    random = torch.Generator().manual_seed(seed)
    height, width = 3, 4
    logits = torch.randn(2, priors * classes, height, width, generator=random)
    numbers = torch.randn(2, priors * 5, height, width, generator=random)
    found = best_places(logits, priors, topk)
    values = found.values_of(numbers, priors)
    column, row = found.columns_and_rows().long().unbind(dim=2)
    for image in range(2):
        flat = logits[image].permute(1, 2, 0).reshape(-1, classes)
        best = flat.flatten().sort(descending=True).values[:topk]
        torch.testing.assert_close(found.logit[image][: len(best)], best)
        for place in range(len(best)):
            prior = 0 if found.prior is None else int(found.prior[image, place])
            at = int(row[image, place]), int(column[image, place])
            label = int(found.label[image, place])
            assert logits[image, prior * classes + label, at[0], at[1]] == found.logit[image, place]
            expected = numbers[image, prior * 5 : prior * 5 + 5, at[0], at[1]]
            assert torch.equal(values[image, place], expected)
