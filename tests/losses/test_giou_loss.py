"""Values and gradients of the GIoU loss equal MMDetection's."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmdet.models.losses import GIoULoss as MMDetGIoULoss

from gfl_plugin.losses import GIoULoss, giou_loss


@given(
    seed=st.integers(0, 2**31),
    count=st.integers(1, 40),
    whole=st.booleans(),
    reduction=st.sampled_from(["none", "mean", "sum"]),
    weights=st.sampled_from([None, 1, 2]),
)
def test_equal_to_mmdetection(seed: int, count: int, whole: bool, reduction: str, weights: int | None) -> None:
    """For separate, nested, touching, equal and empty boxes; with integer coordinates, edges coincide."""
    torch.manual_seed(seed)
    corners = 8 * torch.rand(2, count, 2, 2)
    corners = (corners.round() if whole else corners).sort(dim=2).values.flatten(2)
    weight = None if weights is None else torch.rand((count, 4)[:weights])
    results = []
    for kind in (MMDetGIoULoss, GIoULoss):
        pred = corners[0].clone().requires_grad_()
        avg_factor = 7.0 if reduction == "mean" else None
        loss = kind(reduction=reduction, loss_weight=2.0)(pred, corners[1], weight, avg_factor)
        loss.sum().backward()
        results.append((loss.detach(), pred.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.allclose(results[0][1], results[1][1], rtol=1e-6, atol=1e-7 * float(results[0][1].abs().max()))


def test_mistakes() -> None:
    with pytest.raises(ValueError, match=r"\(2, 4\) and target \(3, 4\); both must be \(N, 4\)"):
        giou_loss(torch.zeros(2, 4), torch.zeros(3, 4))
    with pytest.raises(ValueError, match="reduction is 'max'"):
        GIoULoss(reduction="max")
