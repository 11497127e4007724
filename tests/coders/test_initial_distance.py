"""Distributions that start at a given distance, on any bins."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cases import our_head
from hypothesis import assume, given
from hypothesis import strategies as st

from gfl_plugin.coders import IntegralBBoxCoder
from gfl_plugin.coders.tilted_bins import tilted_logits

BINS = st.lists(st.integers(1, 400), min_size=1, max_size=40)


def increasing(steps: list[int], first: float = -3.0) -> list[float]:
    """Bins from steps, in tenths."""
    return [first + sum(steps[:i]) / 10 for i in range(len(steps) + 1)]


@given(steps=BINS, part=st.floats(1e-3, 1 - 1e-3))
def test_the_softmax_has_the_mean(steps: list[int], part: float) -> None:
    bins = increasing(steps)
    mean = bins[0] + part * (bins[-1] - bins[0])
    assume(bins[0] < mean < bins[-1])
    logits = torch.tensor(tilted_logits(bins, mean), dtype=torch.float64)
    values = torch.tensor(bins, dtype=torch.float64)
    assert float((logits.softmax(0) * values).sum()) == pytest.approx(mean, abs=1e-9 * (bins[-1] - bins[0]))
    assert float(logits.mean()) == pytest.approx(0, abs=1e-9 * float(logits.abs().max() + 1))


@given(steps=BINS, part=st.floats(0.05, 0.95), seed=st.integers(0, 2**31))
def test_no_other_distribution_of_that_mean_is_nearer_to_the_uniform_one(
    steps: list[int], part: float, seed: int
) -> None:
    """A change that keeps sum and mean lowers the entropy."""
    assume(len(steps) >= 2)
    bins = increasing(steps)
    logits = torch.tensor(tilted_logits(bins, bins[0] + part * (bins[-1] - bins[0])), dtype=torch.float64)
    best, values = logits.softmax(0), torch.tensor(bins, dtype=torch.float64)
    random = torch.randn(len(bins), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    kept = torch.linalg.qr(torch.stack([torch.ones_like(values), values - values.mean()], dim=1)).Q
    change = random - kept @ (kept.t() @ random)
    assume(float(change.abs().max()) > 1e-6)
    other = best + change * 0.5 * (best / change.abs()).min()
    assert (other >= 0).all()
    assert torch.special.entr(other).sum() < torch.special.entr(best).sum()


@pytest.mark.parametrize(
    "settings",
    [
        dict(),
        dict(reg_max=8),
        dict(reg_max=32, step=0.5),
        dict(reg_max=17, first=-1.0),
        dict(bins=dict(spacing="geometric", last=64, first_step=1)),
        dict(reg_max=32, bins=dict(spacing="d_fine", up=4.0)),
        dict(bins=[0, 1, 2, 4, 8, 16, 32]),
    ],
    ids=str,
)
@pytest.mark.parametrize("distance", [0.5, 4.0, 7.5])
def test_boxes_of_a_new_head_have_sides_of_twice_the_distance(settings: dict, distance: float) -> None:
    """On features of 0, where only biases count; a bias of 0 gives the mean of the bins."""
    head = our_head(bbox_coder=dict(type="IntegralBBoxCoder", initial_distance=distance, **settings))
    head.init_weights()
    for level in head([torch.zeros(1, 8, 4, 5)] * 3)[1]:
        raw = level.permute(0, 2, 3, 1).reshape(20, -1)
        low, high = head.bbox_coder.decode(torch.rand(20, 2) * 9, raw).split(2, dim=1)
        assert torch.allclose(high - low, torch.full((20, 2), 2 * distance), atol=1e-4)


def test_everything_else_is_initialized_as_without_it() -> None:
    plain, changed = our_head(), our_head(bbox_coder=dict(type="IntegralBBoxCoder", initial_distance=4.0))
    for head in (plain, changed):
        head.init_weights()
        assert float(head.gfl_reg.weight.std()) == pytest.approx(0.01, rel=0.1)
    assert not plain.gfl_reg.bias.any()
    assert torch.equal(plain.gfl_cls.bias, changed.gfl_cls.bias) and plain.gfl_cls.bias.any()


def test_loaded_weights_are_kept(tmp_path: Path) -> None:
    """Those of a checkpoint that init_cfg names, and those that are there when init_weights is called again."""
    coder = dict(type="IntegralBBoxCoder", initial_distance=4.0)
    saved = our_head().state_dict()
    saved["gfl_reg.bias"] = torch.randn(68)
    torch.save(saved, tmp_path / "head.pth")
    head = our_head(bbox_coder=coder, init_cfg=dict(type="Pretrained", checkpoint=str(tmp_path / "head.pth")))
    head.init_weights()
    assert torch.equal(head.gfl_reg.bias, saved["gfl_reg.bias"])
    again = our_head(bbox_coder=coder)
    again.init_weights()
    again.load_state_dict(saved)
    again.init_weights()
    assert torch.equal(again.gfl_reg.bias, saved["gfl_reg.bias"])


@pytest.mark.parametrize("distance", [0.0, 16.0, -1, float("nan"), "4"])
def test_a_distance_outside_the_bins(distance: object) -> None:
    with pytest.raises(ValueError, match=r"initial_distance is .*; it must lie between the first bin, 0, and .*, 16"):
        IntegralBBoxCoder(initial_distance=distance)
    with pytest.raises(ValueError, match="initial_distance is"):
        our_head(bbox_coder=dict(type="IntegralBBoxCoder", initial_distance=distance))
