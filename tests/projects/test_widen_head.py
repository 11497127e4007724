"""A widened head has the same outputs to 0.001 px, whatever its weights, scales and inputs are, and it trains."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mmdet.models.dense_heads import GFLHead as MMDetGFLHead
from mmengine.structures import InstanceData
from torch import Tensor

from gfl_plugin.coders import IntegralBBoxCoder
from gfl_plugin.heads import GFLHead
from gfl_plugin.heads.gfl_defaults import STRIDES, gfl_head_config, gfl_train_cfg
from gfl_plugin.projects.widen_head import TOLERANCE, bins_of, head_prefixes, widen_head
from gfl_plugin.projects.wider_bins import kept_indices, requested_bins, uniform_bins

CHANNELS = 6
OLD = uniform_bins(16)
LAYER = {"gfl_reg.weight": torch.zeros(68, 1), "gfl_reg.bias": torch.zeros(68)}
# Supersets of 0, 1, ..., 16: wider, on both sides, finer, and uneven.
SUPERSETS = [
    uniform_bins(17),
    uniform_bins(24),
    uniform_bins(60),
    uniform_bins(20, first=-3.0),
    uniform_bins(32, step=0.5),
    uniform_bins(96, first=-2.0, step=0.25),
    (-7.5, *OLD, 40.0, 100.0),
]


def weights_of(seed: int, scales: list[float], spread: float = 1.0, bins: tuple[float, ...] = OLD) -> dict[str, Tensor]:
    """Random weights of a head's last layer, fp64, with logits of about ``spread`` for inputs of size 1."""
    generator = torch.Generator().manual_seed(seed)
    numbers = 4 * len(bins)
    return {
        "gfl_reg.weight": spread * torch.randn(numbers, CHANNELS, 3, 3, generator=generator, dtype=torch.float64),
        "gfl_reg.bias": spread * torch.randn(numbers, generator=generator, dtype=torch.float64),
        "integral.project": torch.tensor(bins, dtype=torch.float64),
        **{f"scales.{level}.scale": torch.tensor(scale) for level, scale in enumerate(scales)},
    }


def distances(weights: dict[str, Tensor], features: Tensor, level: int) -> Tensor:
    """The formula in the dtype of the features: (B, channels, H, W) -> (B, 4, H, W) distances in strides."""
    logits = torch.nn.functional.conv2d(features, weights["gfl_reg.weight"], weights["gfl_reg.bias"], padding=1)
    logits = (logits * weights[f"scales.{level}.scale"]).unflatten(1, (4, -1))
    return (logits.softmax(dim=2) * weights["integral.project"].view(-1, 1, 1)).sum(dim=2)


@settings(max_examples=60)
@example(seed=0, scales=[1.0, 0.3926077417394002, 1.0, 1.0, 1.0], sign=1.0, spread=0.0, size=0.01, new=SUPERSETS[2])
@given(
    seed=st.integers(0, 2**31),
    scales=st.lists(st.floats(0.02, 20), min_size=5, max_size=5),
    sign=st.sampled_from([1.0, -1.0]),
    spread=st.sampled_from([0.0, 0.01, 1.0, 30.0]),
    size=st.sampled_from([0.01, 1.0, 100.0]),
    new=st.sampled_from(SUPERSETS),
)
def test_distances_stay_the_same_for_all_weights_scales_and_inputs(
    seed: int, scales: list[float], sign: float, spread: float, size: float, new: tuple[float, ...]
) -> None:
    """They change by less than the bound of the level, and that is less than half of 0.001 px."""
    old = weights_of(seed, [sign * scale for scale in scales], spread)
    changed, head = widen_head(old, "", new, STRIDES)
    widened = {**old, **changed}
    features = size * torch.randn(2, CHANNELS, 4, 4, dtype=torch.float64)
    for level, stride in enumerate(STRIDES):
        difference = stride * (distances(widened, features, level) - distances(old, features, level)).abs().max()
        rounding = 1e-12 * stride * (1 + max(map(abs, new)))
        assert difference <= head.bounds[level] + rounding
        assert head.bounds[level] <= TOLERANCE / 2


def test_the_bound_is_reached_to_a_factor_of_the_number_of_bins() -> None:
    """If the last old bin is certain, the change is the sum over the new bins that the bound counts, to y_n - y_0."""
    old = weights_of(0, [1.0], spread=0.0)
    old["gfl_reg.bias"].view(4, 17)[:, 0] = 60.0
    new = (-1.0, *OLD)
    changed, head = widen_head(old, "", new, [8])
    features = torch.zeros(1, CHANNELS, 1, 1, dtype=torch.float64)
    difference = 8 * (distances({**old, **changed}, features, 0) - distances(old, features, 0)).abs().max()
    # all mass is on bin 0, whose channel the new bin -1 copies: the change is e^(-g) * 1, the bound e^(-g) * 17
    torch.testing.assert_close(difference * 17, torch.tensor(head.bounds[0], dtype=torch.float64), rtol=1e-5, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scale", [0.05, 1.0, -3.0])
def test_the_bound_holds_for_weights_in_any_dtype(dtype: torch.dtype, scale: float) -> None:
    """The stored, rounded weights satisfy it; old bins keep every bit of their channels."""
    old = {name: value.to(dtype) for name, value in weights_of(3, [scale], spread=8.0).items()}
    changed, head = widen_head(old, "", uniform_bins(24), [128])
    assert {value.dtype for value in changed.values()} == {dtype}
    assert head.bounds[0] <= TOLERANCE / 2
    for name in ("gfl_reg.weight", "gfl_reg.bias"):
        assert torch.equal(changed[name].unflatten(0, (4, 25))[:, :17].flatten(0, 1), old[name])
    exact = [{name: value.double() for name, value in one.items()} for one in (old, {**old, **changed})]
    features = torch.randn(1, CHANNELS, 8, 8, dtype=torch.float64)
    before, after = (distances(one, features, 0) for one in exact)
    assert 128 * (after - before).abs().max() <= head.bounds[0]


def gfl(reg_max: int, kind: type = GFLHead, strides: tuple[int, ...] = STRIDES, **changes) -> MMDetGFLHead:
    """A small head with its trainer's settings."""
    sizes = dict(feat_channels=32, stacked_convs=1, reg_max=reg_max)
    config = gfl_head_config(3, 8, strides, train_cfg=gfl_train_cfg(), **sizes, **changes)
    config.pop("type")
    if kind is MMDetGFLHead:
        config["train_cfg"]["assigner"]["type"] = "mmdet.ATSSAssigner"
    return kind(**config)


@pytest.mark.parametrize("kind", [GFLHead, MMDetGFLHead], ids=["plugin", "mmdet"])
def test_a_whole_head_loads_strictly_and_gives_the_same_outputs(kind: type) -> None:
    """Class logits are equal to the last bit, boxes to 0.001 px, in fp32 through the head's own forward and decoder."""
    torch.manual_seed(0)
    old = gfl(16, kind)
    for scale, value in zip(old.scales, (0.7, 1.0, 1.3, 2.0, 0.9)):
        scale.scale.data.fill_(value)
    torch.nn.init.normal_(old.gfl_reg.weight, std=0.2)
    weights = old.state_dict()
    changed, _ = widen_head(weights, "", uniform_bins(24), STRIDES)
    new = gfl(24, kind)
    new.load_state_dict({**weights, **changed}, strict=True)
    features = [torch.randn(2, 8, size, size) for size in (16, 8, 4, 4, 4)]
    (scores, boxes), (new_scores, new_boxes) = old(features), new(features)
    for level, stride in enumerate(STRIDES):
        assert torch.equal(scores[level], new_scores[level])
        before = stride * IntegralBBoxCoder(16).distances(boxes[level].permute(0, 2, 3, 1))
        after = stride * IntegralBBoxCoder(24).distances(new_boxes[level].permute(0, 2, 3, 1))
        assert before.std() > stride / 10  # different predictions are compared
        assert (after - before).abs().max() < TOLERANCE


@pytest.mark.parametrize("official", [False, True], ids=["plugin's names", "authors' names"])
def test_scores_of_gflv2_stay_the_same(official: bool) -> None:
    """Its quality reads the largest probabilities; they change by less than the printed bound."""
    torch.manual_seed(0)
    old, new = (gfl(number, quality=dict(type="DistributionGuidedQuality"), loss_cls=None) for number in (16, 24))
    for name, weight in old.named_parameters():
        if "gfl_reg" in name or "reg_conf" in name:
            torch.nn.init.normal_(weight, std=0.5)
    weights = old.state_dict()
    if official:
        weights = {name.replace("quality.reg_conf", "reg_conf"): value for name, value in weights.items()}
    changed, head = widen_head(weights, "", uniform_bins(24), STRIDES)
    assert head.has_statistics and head.new_probability < 1e-5
    new.load_state_dict({**weights, **changed}, strict=True)
    features = [torch.randn(2, 8, 4, 4) for _ in STRIDES]
    before, after = old(features)[0], new(features)[0]
    assert max(level.std() for level in before) > 0.1
    torch.testing.assert_close(after, before, rtol=0, atol=1e-5)


def trained(head: GFLHead, steps: int, dtype: torch.dtype) -> float:
    """Train on one object of 40 strides; return the smallest predicted distance of the location at its center."""
    torch.manual_seed(0)
    features = (torch.rand(1, 8, 41, 41),)
    truth = InstanceData(bboxes=torch.tensor([[4.0, 4.0, 324.0, 324.0]]), labels=torch.tensor([0]))
    metas = [dict(img_shape=(328, 328), pad_shape=(328, 328), scale_factor=(1.0, 1.0))]
    optimizer = torch.optim.SGD(head.parameters(), lr=0.02, momentum=0.9)
    for _ in range(steps):
        with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
            outputs = head(features)
        losses = head.loss_by_feat(*outputs, [truth], metas)
        optimizer.zero_grad()
        sum(sum(value) for value in losses.values()).backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), 35)
        optimizer.step()
    center = head(features)[1][0][0, :, 20, 20]
    return float(head.bbox_coder.distances(center).min())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_training_moves_sides_beyond_the_old_last_bin(dtype: torch.dtype) -> None:
    """An object of 20 strides per side, which the old head learns as 16, is learned in 30 steps of SGD."""
    torch.manual_seed(0)
    old = gfl(16, strides=(8,))
    old.init_weights()
    torch.nn.init.zeros_(old.gfl_cls.bias)  # scores of 0.5 weight the box losses, as in a trained head
    assert 15 < trained(old, 60, dtype) <= 16
    weights = old.state_dict()
    changed, _ = widen_head(weights, "", uniform_bins(24), (8,))
    new = gfl(24, strides=(8,))
    new.load_state_dict({**weights, **changed}, strict=True)
    assert 15 < trained(new, 0, dtype) <= 16
    assert 19 < trained(new, 30, dtype) < 21


def test_every_head_of_a_model_is_found() -> None:
    names = (
        "student.bbox_head.gfl_reg.weight",
        "teacher.bbox_head.gfl_reg.weight",
        "gfl_reg.weight",
        "x_gfl_reg.weight",
    )
    weights = {name: torch.zeros(4) for name in names}
    assert head_prefixes(weights) == ["student.bbox_head.", "teacher.bbox_head.", ""]


def test_the_weights_that_are_read_are_not_changed() -> None:
    old = weights_of(1, [1.0])
    before = copy.deepcopy(old)
    widen_head(old, "", uniform_bins(24), [8])
    assert all(torch.equal(before[name], old[name]) for name in before)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("bbox_head.atss_reg.weight", "MMDetection's ATSSHead"),
        ("bbox_head.conv_centerness.weight", "MMDetection's FCOSHead"),
        ("bbox_head.retina_reg.weight", "MMDetection's RetinaHead"),
        ("roi_head.bbox_head.fc_cls.weight", "two-stage"),
        ("bbox_head.my_layer.weight", "its heads' layers are bbox_head.my_layer"),
        ("backbone.conv1.weight", "no layers of a head"),
    ],
)
def test_another_head_is_named(layer: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"holds no GFL head.*{message}"):
        head_prefixes({layer: torch.zeros(1)})


@pytest.mark.parametrize(
    ("scales", "message"),
    [
        ([1.0, 0.0], "scale of level 1 is 0: all its logits are 0"),
        ([1.0, -0.5], r"scales have both signs \(1, -0.5\)"),
        ([1.0, float("nan")], "must be finite"),
    ],
)
def test_scales_that_exclude_a_bound_are_an_error(scales: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        widen_head(weights_of(0, scales), "", uniform_bins(24), [8, 16])


def test_a_bias_outside_the_range_of_fp16_is_an_error() -> None:
    """A scale near 0 needs a large bias; fp32 holds it."""
    weights = weights_of(0, [1e-4])
    assert widen_head(weights, "", uniform_bins(24), [8])[1].bounds[0] <= TOLERANCE / 2
    with pytest.raises(ValueError, match="float16 does not hold; convert the weights to fp32 first"):
        widen_head({name: value.half() for name, value in weights.items()}, "", uniform_bins(24), [8])


def test_channels_that_are_no_distributions_are_an_error() -> None:
    for channels, message in ((70, "70 channels; GFL has four sides"), (4, "DiracBBoxCoder"), (8, "GaussianBBoxCoder")):
        with pytest.raises(ValueError, match=message):
            bins_of({"gfl_reg.weight": torch.zeros(channels, 1), "gfl_reg.bias": torch.zeros(channels)})
    with pytest.raises(ValueError, match="holds 5 bins; they must increase, and gfl_reg has 17 numbers"):
        bins_of({**LAYER, "integral.project": torch.arange(5)})
    for damaged in ({}, {"gfl_reg.bias": torch.zeros(67)}, {"gfl_reg.bias": torch.zeros(68, dtype=torch.int8)}):
        with pytest.raises(ValueError, match="no weight and bias of floating-point numbers"):
            bins_of({"gfl_reg.weight": torch.zeros(68, 1), **damaged})


def test_without_saved_bins_they_are_whole_strides() -> None:
    assert bins_of(LAYER) == OLD


@pytest.mark.parametrize("old", [OLD, uniform_bins(7, 0.5, 0.1), (0.0, 1.0, 4.0, 9.0)], ids=len)
@pytest.mark.parametrize("parts", [1, 2, 3])
def test_finer_and_wider_uniform_bins_contain_the_old_ones(old: tuple[float, ...], parts: int) -> None:
    if len(old) == 4:
        with pytest.raises(ValueError, match=r"bins \(0, 1, 4, 9\) are not uniform"):
            requested_bins(old, reg_max=20)
        return
    step = old[1] - old[0]
    new = requested_bins(old, reg_max=parts * len(old) + 5, step=step / parts, first=old[0] - step)
    assert kept_indices(old, new) == tuple(parts * (1 + index) for index in range(len(old)))


@pytest.mark.parametrize(
    ("new", "message"),
    [
        (uniform_bins(12), r"bin 13 is not among the new bins \(0, 1, ..., 12\).*example reg_max=17 or more$"),
        (uniform_bins(16), "has the bins .* already; for example reg_max=17 or more$"),
        (uniform_bins(24, step=0.7), r"bin 1 is not .*for example reg_max=34, step=0.5$"),
        (uniform_bins(24, first=0.5), r"bin 0 is not .*for example reg_max=25 or more$"),
        (uniform_bins(24, first=-0.5), r"bin 0 is not .*for example reg_max=25, first=-1$"),
        ((0.0, 1.0, 2.0, 30.0), "bin 3 is not "),
    ],
)
def test_bins_that_lack_an_old_one_are_an_error_with_advice(new: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kept_indices(OLD, new)


def test_added_bins_and_those_equal_to_rounding_keep_the_old_values() -> None:
    """Old bins in fp32 that a person writes in decimals are the same bins; their stored values stay."""
    old = tuple(torch.tensor([0.0, 0.1, 0.7, 2.3]).double().tolist())
    assert 0.1 not in old
    assert requested_bins(old, bins=[-1, 0, 0.1, 0.7, 2.3, 4]) == (-1.0, *old, 4.0)
    assert requested_bins(old, add=[4, 0.7, -1]) == (-1.0, *old, 4.0)


def test_a_wrong_request_is_an_error() -> None:
    for request, message in (
        ({}, "in one way: reg_max"),
        (dict(reg_max=20, bins=[0, 1]), "in one way: reg_max"),
        (dict(add=[20], bins=[0, 1]), "in one way: reg_max"),
        (dict(bins=[0, 1], step=0.5), "first and step go with reg_max"),
        (dict(add=[18, 18]), "increasing, finite"),
        (dict(bins=[0, 2, 1]), "increasing, finite"),
        (dict(bins=[0, float("nan")]), "increasing, finite"),
        (dict(bins=[3]), "at least two"),
        (dict(reg_max=0), "reg_max is 0"),
        (dict(reg_max=20, step=-1.0), "step is -1"),
    ):
        with pytest.raises(ValueError, match=message):
            requested_bins(OLD, **request)
