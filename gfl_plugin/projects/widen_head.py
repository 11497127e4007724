r"""Gives a trained GFL head more bins without changing its outputs: pure functions on a dict of weights.

A side's logits on level l are :math:`z_i = s_l (w_i \cdot x + b_i)` for the old bins :math:`y_0 < \dots < y_n`, with
the level's learned scale :math:`s_l` and any features x. Each new bin :math:`y_j` copies the channel of the nearest
old bin k, with a lower bias:

.. math:: w_j = w_k, \quad b_j = b_k - g, \quad \text{therefore} \quad z_j = z_k - s_l g

**Bound.** With P the old softmax, the probability of a new bin is at most :math:`P_k e^{-s_l g} \le e^{-s_l g}`,
because it is :math:`e^{z_j}` over a sum that contains all old terms. The new distance is
:math:`\hat y + \sum_j q_j (y_j - \hat y)`, and :math:`\hat y` lies in :math:`[y_0, y_n]`. Therefore no distance on a
level of stride :math:`S_l` changes by more than

.. math:: S_l \sum_j e^{-s_l g} \max(|y_j - y_0|, |y_j - y_n|) \text{ pixels, for every input.}

g is the smallest gap for which this is below half of ``TOLERANCE`` on every level; the other half is left for the
rounding of convolution and softmax. The channel of a single old bin is copied, not a mean of several, because a copy
is exact in every dtype. Class scores do not depend on these channels.

**Training.** DFL's gradient at a logit is probability minus target. It is -target at a new bin, however small its
probability is, and the logarithm of that probability, about -20, is finite in fp16. For an object beyond the old bins
the last bin is the likely one, and the new bins start from its channel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .wider_bins import Bins, kept_indices, nearest_indices, uniform_bins

TOLERANCE = 1e-3  # px; no decoded distance changes by more
_ROUNDING = 1e-12  # relative; more than the logarithm and the exponential of a bound are rounded by in fp64
_REG = "gfl_reg."
_PROJECT = "integral.project"
_STATISTICS = ("reg_conf.", "quality.reg_conf.")  # GFLV2's layers, as its authors and as this package name them
# One distinctive layer of MMDetection's other heads.
_OTHER_HEADS = {
    "atss_reg": "ATSSHead (or one like it: PAAHead, DDODHead)",
    "conv_centerness": "FCOSHead",
    "conv_reg": "FoveaHead",
    "retina_reg": "RetinaHead",
    "vfnet_reg": "VFNetHead",
    "tood_reg": "TOODHead",
    "rtm_reg": "RTMDetHead",
    "multi_level_conv_reg": "YOLOXHead",
    "reg_convs": "SSDHead",
}


@dataclass(frozen=True)
class WidenedHead:
    """What was changed in a head."""

    prefix: str  # of the names of its weights, such as "bbox_head."
    old_bins: Bins
    new_bins: Bins
    offsets: tuple[float, ...]  # per level: logit of a new bin minus that of the old bin whose channel it copies
    bounds: tuple[float, ...]  # per level: px, no distance changes by more
    new_probability: float  # upper bound of the sum of the new bins' probabilities, over levels
    has_statistics: bool  # whether GFLV2's layers read the probabilities


def head_prefixes(weights: Mapping[str, Tensor]) -> list[str]:
    """Find the GFL heads in a model's weights.

    Args:
        weights: of a model, by name.

    Returns:
        The prefix of each head's names: ``["bbox_head."]`` for a single-stage detector.

    Raises:
        ValueError: if there is none; the message names the head whose layers are there.
    """
    name = f"{_REG}weight"
    found = [key.removesuffix(name) for key in weights if key == name or key.endswith(f".{name}")]
    if not found:
        raise ValueError(f"the checkpoint holds no GFL head (no layer gfl_reg): {_what_is_there(weights)}")
    return found


def bins_of(weights: Mapping[str, Tensor], prefix: str = "") -> Bins:
    """The bins of a head.

    Args:
        weights: of a model, by name.
        prefix: of the head's names.

    Returns:
        The saved bins (``integral.project``), or 0, 1, ..., n in strides if none are saved.

    Raises:
        ValueError: if ``gfl_reg`` is damaged, or its channels are not those of four distributions over bins.
    """
    weight, bias = weights[f"{prefix}{_REG}weight"], weights.get(f"{prefix}{_REG}bias")
    if not all(_is_layer(value) and len(value) == len(weight) for value in (weight, bias)):
        raise ValueError(f"{prefix}gfl_reg has no weight and bias of floating-point numbers, one per channel")
    channels = len(weight)
    numbers, rest = divmod(channels, 4)
    if rest:
        raise ValueError(f"{prefix}gfl_reg has {channels} channels; GFL has four sides of reg_max + 1 each")
    project = weights.get(f"{prefix}{_PROJECT}")
    if numbers == 1 or (numbers == 2 and project is None):
        coder = "DiracBBoxCoder" if numbers == 1 else "GaussianBBoxCoder"
        raise ValueError(
            f"{prefix}gfl_reg has {channels} channels, {numbers} per side, as with a {coder}: it has no bins to add to"
        )
    if project is None:
        return uniform_bins(numbers - 1)
    bins = tuple(project.double().flatten().tolist())
    if len(bins) != numbers or not all(low < high for low, high in zip(bins, bins[1:])):
        raise ValueError(
            f"{prefix}{_PROJECT} holds {len(bins)} bins; they must increase, and gfl_reg has {numbers} numbers per side"
        )
    return bins


def scales_of(weights: Mapping[str, Tensor], prefix: str = "") -> tuple[float, ...]:
    """The learned factors of the logits.

    Args:
        weights: of a model, by name.
        prefix: of the head's names.

    Returns:
        One per level.

    Raises:
        ValueError: if there is none.
    """
    scales: list[float] = []
    while (scale := weights.get(f"{prefix}scales.{len(scales)}.scale")) is not None:
        scales.append(float(scale))
    if not scales:
        raise ValueError(f"the checkpoint holds no factor of a level ({prefix}scales.0.scale); it is not a GFL head's")
    return tuple(scales)


def widen_head(
    weights: Mapping[str, Tensor], prefix: str, bins: Bins, strides: Sequence[float]
) -> tuple[dict[str, Tensor], WidenedHead]:
    """Give a head more bins; see the module for the method and the bound.

    Args:
        weights: of a model, by name; not changed.
        prefix: of the head's names.
        bins: the new bins in strides, which contain the old ones.
        strides: pixels per level.

    Returns:
        The changed weights by name, and what was changed.

    Raises:
        ValueError: if the bins do not contain the old ones, strides and levels differ in number, a level's factor
            excludes the change, or the bias is outside the range of its dtype.
    """
    old, scales = bins_of(weights, prefix), scales_of(weights, prefix)
    if len(strides) != len(scales):
        raise ValueError(
            f"the config has {len(strides)} strides {tuple(strides)}, and the checkpoint's head {len(scales)} levels; "
            "give the config of its training"
        )
    kept, source = kept_indices(old, bins), torch.tensor(nearest_indices(old, bins))
    source[list(kept)] = torch.arange(len(old))
    is_new = torch.ones(len(bins), dtype=torch.bool)
    is_new[list(kept)] = False
    reach = sum(_reach(old, bins[index]) for index in is_new.nonzero().flatten().tolist())

    weight, bias = weights[f"{prefix}{_REG}weight"], weights[f"{prefix}{_REG}bias"]
    gap = _rounded_up(_gap(reach, scales, strides), bias)
    per_side = bias.unflatten(0, (4, len(old)))[:, source]  # (4, new bins)
    lowered = torch.where(is_new, per_side.double() - gap, per_side.double()).to(bias.dtype)
    if not lowered.isfinite().all():
        raise ValueError(
            f"the scale of a level is near 0 ({_listed(scales)}), and the bias of a new bin would be {-gap:.3g}, which "
            f"{bias.dtype} does not hold; convert the weights to fp32 first"
        )
    changed = {
        f"{prefix}{_REG}weight": weight.unflatten(0, (4, len(old)))[:, source].flatten(0, 1),
        f"{prefix}{_REG}bias": lowered.flatten(),
    }
    if f"{prefix}{_PROJECT}" in weights:
        changed[f"{prefix}{_PROJECT}"] = weights[f"{prefix}{_PROJECT}"].new_tensor(bins)
    stored = (per_side.double() - lowered.double())[:, is_new]
    offsets = tuple(-float((scale * stored).min()) for scale in scales)
    return changed, WidenedHead(
        prefix=prefix,
        old_bins=old,
        new_bins=bins,
        offsets=offsets,
        bounds=tuple(stride * reach * math.exp(offset) for stride, offset in zip(strides, offsets)),
        new_probability=int(is_new.sum()) * math.exp(max(offsets)),
        has_statistics=any(key.startswith(tuple(prefix + name for name in _STATISTICS)) for key in weights),
    )


def _is_layer(value: object) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.dim() > 0


def _reach(old: Bins, bin_: float) -> float:
    """The largest difference of a bin and any distance that the old bins can represent, in strides."""
    return max(abs(bin_ - old[0]), abs(bin_ - old[-1]))


def _gap(reach: float, scales: Sequence[float], strides: Sequence[float]) -> float:
    """The smallest difference of biases, with the sign of the scales, that keeps every level's bound."""
    if not all(map(math.isfinite, scales)):
        raise ValueError(f"the levels' scales are {_listed(scales)}; they must be finite")
    if 0.0 in scales:
        raise ValueError(
            f"the scale of level {scales.index(0.0)} is 0: all its logits are 0, so a new bin would get as much "
            "probability as an old one, whatever its weights are"
        )
    if min(scales) < 0 < max(scales):
        raise ValueError(
            f"the levels' scales have both signs ({_listed(scales)}): what lowers a new bin's logit on one level "
            "raises it on another, so no weights keep the outputs of all levels"
        )
    gap = max(math.log(2 * stride * reach / TOLERANCE) / abs(scale) for scale, stride in zip(scales, strides))
    return math.copysign(max(gap, 0.0) * (1 + _ROUNDING), scales[0])


def _rounded_up(gap: float, bias: Tensor) -> float:
    """A gap that is not smaller than ``gap`` after the lowered biases are rounded to the dtype of ``bias``."""
    eps = torch.finfo(bias.dtype).eps
    return math.copysign((abs(gap) + eps * float(bias.abs().max())) / (1 - eps), gap)


def _listed(scales: Sequence[float]) -> str:
    return ", ".join(f"{scale:.3g}" for scale in scales)


def _what_is_there(weights: Mapping[str, Tensor]) -> str:
    layers = {part for key in weights for part in key.split(".")}
    for layer, head in _OTHER_HEADS.items():
        if layer in layers:
            return f"its layers are those of MMDetection's {head}"
    if "roi_head" in layers:
        return "it is a two-stage detector's"
    names = sorted({".".join(key.split(".")[:2]) for key in weights if "head" in key})[:4]
    return f"its heads' layers are {', '.join(names)}" if names else "it has no layers of a head"
