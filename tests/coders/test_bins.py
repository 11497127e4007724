"""Any bins: the named spacings, expectation, standard deviation and targets, and training with them."""

from __future__ import annotations

import logging
import math

import pytest
import torch
from cases import Recipe, build_head, head_config, losses_and_gradients, our_head, random_batch
from hypothesis import given
from hypothesis import strategies as st
from mmengine.logging import MMLogger

from gfl_plugin.coders import IntegralBBoxCoder
from gfl_plugin.coders.bin_spacings import d_fine_bins, geometric_bins, uniform_bins
from gfl_plugin.losses import distribution_focal_loss
from gfl_plugin.ops.fractional_index import fractional_index

SPACINGS = {
    "uniform": dict(reg_max=8, bins=dict(spacing="uniform", last=24)),
    "geometric": dict(reg_max=16, bins=dict(spacing="geometric", last=64, first_step=1)),
    "d_fine": dict(reg_max=32, bins=dict(spacing="d_fine", up=0.5, reg_scale=32.0)),
    "listed": dict(bins=[-1.0, 0.0, 0.5, 2.0, 7.0, 7.25, 20.0]),
}


@st.composite
def any_bins(draw: st.DrawFn) -> list[float]:
    """2 to 20 increasing bins with steps from 1/16 to 20 strides, all of them numbers that fp32 holds exactly."""
    steps = draw(st.lists(st.integers(1, 320), min_size=1, max_size=19))
    first = draw(st.integers(-80, 80))
    return [(first + sum(steps[:i])) / 16 for i in range(len(steps) + 1)]


# ---------------------------------------------------------------------------------------------------
# Spacings
# ---------------------------------------------------------------------------------------------------


@given(n=st.integers(2, 64), first_step=st.floats(0.05, 4), stretch=st.floats(1, 50))
def test_geometric_steps_grow_by_one_factor_up_to_the_last_bin(n: int, first_step: float, stretch: float) -> None:
    bins = geometric_bins(n, n * first_step * stretch, first_step)
    steps = [high - low for low, high in zip(bins, bins[1:])]
    factors = [after / before for before, after in zip(steps, steps[1:])]
    assert len(bins) == n + 1 and bins[0] == 0 and bins[-1] == n * first_step * stretch
    assert steps[0] == pytest.approx(first_step)
    assert factors == pytest.approx([factors[0]] * (n - 1), rel=1e-6) and factors[0] >= 1 - 1e-9


def test_geometric_bins_that_reach_just_n_first_steps_are_uniform() -> None:
    assert geometric_bins(16, 16, 1) == pytest.approx(uniform_bins(16, 16))


@given(n=st.integers(2, 32).map(lambda half: 2 * half), up=st.floats(0.1, 10), reg_scale=st.floats(0.5, 10))
def test_d_fine_bins_equal_the_formula(n: int, up: float, reg_scale: float) -> None:
    """W(n) of arXiv 2410.13842, written for each index."""
    a = up * reg_scale
    expected = []
    for index in range(n + 1):
        i = index - n // 2
        inner = (a + 1) ** (abs(i) * 2 / (n - 2)) - 1
        expected.append(math.copysign(2 * a if abs(i) == n // 2 else inner, i))
    assert d_fine_bins(n, up, reg_scale) == pytest.approx(expected)


def test_d_fines_own_bins() -> None:
    """With D-FINE's settings (n = 32, up = 0.5, reg_scale = 4) the inner bins end at ±2 and the outer ones are ±4."""
    bins = IntegralBBoxCoder(reg_max=32, bins=dict(spacing="d_fine")).bins()
    assert bins[[0, 1, 16, 31, 32]].tolist() == pytest.approx([-4, -2, 0, 2, 4])
    assert torch.allclose(bins, -bins.flip(0))


@pytest.mark.parametrize("n", [4, 8, 16])
@pytest.mark.parametrize("step", [0.5, 1.0, 3.0])
def test_uniform_bins_by_name_equal_those_by_step_in_every_bit(n: int, step: float) -> None:
    named = IntegralBBoxCoder(reg_max=n, bins=dict(spacing="uniform", last=n * step))
    stepped = IntegralBBoxCoder(reg_max=n, step=step)
    logits, distance = 3 * torch.randn(50, 4 * (n + 1)), 1.2 * n * step * torch.rand(50, 4)
    for method, argument in (("integral", logits), ("std", logits), ("position", distance)):
        assert torch.equal(getattr(named, method)(argument), getattr(stepped, method)(argument))
    assert torch.equal(named.bins(), stepped.bins())


def test_listed_unit_steps_equal_the_default_in_every_bit() -> None:
    listed, default = IntegralBBoxCoder(bins=list(range(17))), IntegralBBoxCoder()
    logits, distance = 3 * torch.randn(50, 68), 20 * torch.rand(50, 4) - 1
    assert torch.equal(listed.integral(logits), default.integral(logits))
    assert torch.equal(listed.position(distance), default.position(distance))


# ---------------------------------------------------------------------------------------------------
# Expectation, standard deviation and targets
# ---------------------------------------------------------------------------------------------------


@given(bins=any_bins(), seed=st.integers(0, 10_000))
def test_expectation_and_standard_deviation_equal_the_formulas(bins: list[float], seed: int) -> None:
    coder = IntegralBBoxCoder(bins=bins)
    logits = 3 * torch.randn(5, 4 * len(bins), generator=torch.Generator().manual_seed(seed))
    probability = logits.double().unflatten(1, (4, len(bins))).softmax(dim=2)
    values = torch.tensor(bins, dtype=torch.float64)
    mean = (probability * values).sum(dim=2)
    variance = (probability * values.square()).sum(dim=2) - mean.square()
    largest = max(map(abs, bins))
    assert torch.allclose(coder.distances(logits).double(), mean, atol=1e-6 * largest + 1e-6)
    # The fp32 mean's error counts fully where the deviation is near zero.
    assert torch.allclose(coder.std(logits).double(), variance.clamp(min=0).sqrt(), atol=1e-4 * largest)


@given(bins=any_bins(), seed=st.integers(0, 10_000))
def test_the_two_bins_around_a_target_have_it_as_their_mean(bins: list[float], seed: int) -> None:
    """With the probabilities that DFL asks for, on the bins left and right of the position."""
    coder = IntegralBBoxCoder(bins=bins)
    part = torch.rand(50, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    low, high = coder.position(torch.tensor([bins[0], bins[-1]], dtype=torch.float64)).tolist()
    assert low == 0 and high == pytest.approx(len(bins) - 1 - 0.1)
    values = coder.bins().double()
    end = values[-2] + 0.9 * (values[-1] - values[-2])  # targets beyond are clamped there, as in MMDetection
    target = values[0] + (end - values[0]) * part
    position = coder.position(target)
    left = position.long()
    fraction = position - left
    mean = (1 - fraction) * values[left] + fraction * values[left + 1]
    assert torch.allclose(mean, target, atol=1e-9, rtol=1e-9)


def test_targets_outside_the_bins_are_clamped_and_nan_stays() -> None:
    coder = IntegralBBoxCoder(bins=[-1.0, 0.0, 4.0])
    distance = torch.tensor([-5.0, -1.0, 0.0, 2.0, 3.9, 50.0, float("inf"), float("nan")])
    expected = torch.tensor([0.0, 0.0, 1.0, 1.5, 1.9, 1.9, 1.9, float("nan")])
    assert torch.allclose(coder.position(distance), expected, equal_nan=True)


@given(bins=any_bins(), seed=st.integers(0, 10_000))
def test_gradient_of_dfl_equals_finite_differences(bins: list[float], seed: int) -> None:
    """Against differences, in fp64, of -((y_{i+1} - y) log P(y_i) + (y - y_i) log P(y_{i+1})) / (y_{i+1} - y_i)."""
    random = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(4, len(bins), generator=random)
    target = bins[0] + (bins[-1] - bins[0]) * torch.rand(4, dtype=torch.float64, generator=random)
    position = fractional_index(target, torch.tensor(bins, dtype=torch.float64))
    given_logits = logits.clone().requires_grad_()
    distribution_focal_loss(given_logits, position).sum().backward()

    def formula(values: torch.Tensor) -> float:
        total, log_probability = 0.0, values.log_softmax(dim=1)
        for row, y in enumerate(target.tolist()):
            i = min(max(k for k in range(len(bins)) if bins[k] <= y), len(bins) - 2)
            left, right = (float(log_probability[row, k]) for k in (i, i + 1))
            total -= ((bins[i + 1] - y) * left + (y - bins[i]) * right) / (bins[i + 1] - bins[i])
        return total

    step, expected = 1e-5, torch.zeros_like(logits, dtype=torch.float64)
    for index in range(logits.numel()):
        shift = torch.zeros(logits.numel(), dtype=torch.float64)
        shift[index] = step
        shift = shift.view_as(logits)
        expected.view(-1)[index] = (formula(logits.double() + shift) - formula(logits.double() - shift)) / (2 * step)
    assert torch.allclose(given_logits.grad.double(), expected, atol=2e-6)


# ---------------------------------------------------------------------------------------------------
# In heads
# ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss_dfl", ["gfl_plugin.DistributionFocalLoss", "mmdet.DistributionFocalLoss"])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_a_head_learns_boxes(spacing: str, loss_dfl: str) -> None:
    """Box logits, trained directly, become boxes that overlap their objects, with this or MMDetection's DFL."""
    head = our_head(
        bbox_coder=dict(type="gfl_plugin.IntegralBBoxCoder", **SPACINGS[spacing]),
        loss_dfl=dict(type=loss_dfl, loss_weight=0.25),
    )
    n = head.bbox_coder.reg_max
    batch = random_batch(Recipe(reg_max=n, objects=(4, 5), same_size=True))
    maps = [level.zero_().requires_grad_() for level in batch.bbox_preds]
    optimizer = torch.optim.Adam(maps, lr=0.3)
    history = []
    for _ in range(60):
        losses = head.loss_by_feat(batch.cls_scores, maps, batch.gt_instances, batch.img_metas)
        total = sum(losses["loss_bbox"]) + sum(losses["loss_dfl"])
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        history.append((float(sum(losses["loss_bbox"])), float(sum(losses["loss_dfl"]))))
    assert history[-1][0] < 0.2 * history[0][0] and history[-1][1] < 0.5 * history[0][1]


@pytest.mark.parametrize("spacing", SPACINGS)
def test_detections_and_checkpoint_of_mmdetections_head(spacing: str) -> None:
    """MMDetection's GFLHead decodes the same boxes from this head's weights, as the bins are its ``project``."""
    ours = our_head(bbox_coder=dict(type="gfl_plugin.IntegralBBoxCoder", **SPACINGS[spacing]))
    theirs = build_head(head_config(reg_max=ours.bbox_coder.reg_max))
    theirs.load_state_dict(ours.state_dict(), strict=True)
    batch = random_batch(Recipe(reg_max=ours.bbox_coder.reg_max, same_size=True))
    arguments = dict(batch_img_metas=batch.img_metas, rescale=False)
    for one, other in zip(
        theirs.predict_by_feat(batch.cls_scores, batch.bbox_preds, **arguments),
        ours.predict_by_feat(batch.cls_scores, batch.bbox_preds, **arguments),
    ):
        assert len(one) == len(other) > 10
        assert torch.allclose(one.bboxes, other.bboxes, atol=1e-3) and torch.equal(one.labels, other.labels)


def test_one_head_with_unit_bins_by_any_name() -> None:
    """Losses and gradients with bins by name or one by one equal those of the default in every bit."""
    batch = random_batch(Recipe())
    expected = losses_and_gradients(our_head(), batch)
    for bins in (dict(spacing="uniform", last=16), list(range(17)), dict(spacing="geometric", last=16)):
        found = losses_and_gradients(our_head(bbox_coder=dict(type="gfl_plugin.IntegralBBoxCoder", bins=bins)), batch)
        assert found[0] == expected[0]
        assert all(torch.equal(a, b) for a, b in zip(found[1] + found[2], expected[1] + expected[2]))


@pytest.mark.parametrize(("saved", "warns"), [(dict(), False), (dict(step=2.0), True), (SPACINGS["geometric"], True)])
def test_a_checkpoint_of_other_bins_gives_a_warning_and_the_head_keeps_its_own(saved: dict, warns: bool) -> None:
    messages: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda message: messages.append(message.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    source = our_head(bbox_coder=dict(type="gfl_plugin.IntegralBBoxCoder", **saved))
    head, before = our_head(), source.integral.project.clone()
    try:
        head.load_state_dict(source.state_dict(), strict=True)
    finally:
        logger.removeHandler(handler)
    assert torch.equal(head.integral.project, torch.arange(17.0))
    assert torch.equal(source.integral.project, before)
    assert torch.equal(head.gfl_reg.weight, source.gfl_reg.weight)
    assert bool(messages) == warns
    assert all("this head has [0, 1, 2, …, 16]" in message for message in messages)


# ---------------------------------------------------------------------------------------------------
# Mistakes
# ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(bins=[0, 2, 1]), r"bins must increase, but bins\[1\] is 2 and bins\[2\] is 1"),
        (dict(bins=[0, 1, 1]), r"bins\[1\] is 1 and bins\[2\] is 1"),
        (dict(bins=[1e8, 1e8 + 1]), "single precision does not distinguish them"),
        (dict(bins=[0]), "bins has 1 number; it must have at least 2"),
        (dict(bins=[]), "bins has 0 numbers"),
        (dict(bins=[0, float("nan")]), r"bins\[1\] is nan; each bin must be a finite number"),
        (dict(bins=[0, 1e39]), r"bins\[1\] is 1e\+39"),
        (dict(bins=[0, "1"]), r"bins\[1\] is '1'"),
        (dict(bins="geometric"), "bins is 'geometric'; it must be a list of increasing numbers, or a spacing"),
        (dict(bins=16), "bins is 16"),
        (dict(bins=dict(spacing="log", last=16)), "spacing='log'; write one of 'uniform', 'geometric', 'd_fine'"),
        (dict(bins=dict(last=16)), "spacing=None"),
        (dict(bins=dict(spacing="uniform")), "needs last"),
        (dict(bins=dict(spacing="uniform", last=16, first_step=1)), "first_step, which the spacing 'uniform' does not"),
        (dict(bins=dict(spacing="uniform", last=-1)), "the last bin is -1 and the first 0"),
        (dict(bins=dict(spacing="uniform", last="16")), "last='16'; it must be a finite number"),
        (dict(bins=dict(spacing="geometric", last=15)), r"less than 16 steps of first_step=1.*last >= 16"),
        (dict(bins=dict(spacing="geometric", last=64, first_step=0)), "first_step is 0; it must be > 0"),
        (dict(reg_max=1, bins=dict(spacing="geometric", last=64)), "with reg_max=1 there is one step"),
        (dict(reg_max=15, bins=dict(spacing="d_fine")), "reg_max is 15; D-FINE's spacing needs an even number"),
        (dict(bins=dict(spacing="d_fine", up=-1)), "up is -1"),
        (dict(reg_max=16, bins=[0, 1, 2]), r"bins lists 3 numbers.*reg_max=2.*or list 17 bins"),
        (dict(step=2.0, bins=[0, 1, 2]), "step=2.0 and bins are given; write bins alone"),
    ],
)
def test_wrong_bins(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IntegralBBoxCoder(**settings)


def test_reg_max_of_the_head_contradicts_the_bins() -> None:
    with pytest.raises(ValueError, match="reg_max is 16, but bins lists 3 numbers"):
        our_head(reg_max=16, bbox_coder=dict(type="gfl_plugin.IntegralBBoxCoder", bins=[0, 1, 2]))
