"""What a side's distribution costs at test time: a GFL head against the same head with one number per side."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from torch import Tensor, nn

from ...heads.gfl_defaults import STRIDES, gfl_head_config, gfl_test_cfg
from .paired_cost import PairedCost, paired_cost
from .settings import Report

_CHANNELS = 256  # of COCO detectors


@torch.no_grad()
def distribution_cost(
    size: int = 1280,
    classes: int = 80,
    above: int = 1000,
    runs: int = 11,
    device: str = "cpu",
    report: Report = lambda name: None,
) -> list[PairedCost]:
    """Time the head's forward pass and its prediction, alternately with Dirac and with general sides.

    Both heads share all weights except those of the last box convolution, which has 4·(n+1) output channels with
    general sides and 4 with Dirac sides. The batch has one image of random features. The class logits are shifted so
    that ``above`` of them exceed the score threshold: a head with random weights would have no detection to decode.

    Args:
        size: side of the image in pixels, a multiple of 128.
        classes: number of classes C.
        above: number of class logits above the score threshold.
        runs: number of counted pairs.
        device: device of the heads.
        report: function that is called with the name of the current measurement.

    Returns:
        Head forward, prediction, and both together; Dirac sides first.

    Raises:
        ValueError: if ``size`` is not a positive multiple of 128, or there are fewer than ``above`` class logits.
    """
    if size <= 0 or size % STRIDES[-1]:
        raise ValueError(f"size is {size}; it must be a positive multiple of {STRIDES[-1]}, the largest stride")
    heads, features = heads_and_features(size, classes, above, device)
    metas = [{"img_shape": (size, size), "scale_factor": (1.0, 1.0)}]
    outputs = [head(features) for head in heads]

    def predict(head: nn.Module, maps: Sequence[list[Tensor]]) -> object:
        return head.predict_by_feat(*maps, batch_img_metas=metas, rescale=True)

    parts = {
        "head forward": [functools.partial(head, features) for head in heads],
        "prediction": [functools.partial(predict, head, maps) for head, maps in zip(heads, outputs)],
        "both": [lambda head=head: predict(head, head(features)) for head in heads],
    }
    costs = []
    for part, calls in parts.items():
        report(part)
        costs.append(paired_cost(part, calls, runs, device))
    return costs


def heads_and_features(
    size: int, classes: int, above: int, device: str = "cpu"
) -> tuple[tuple[nn.Module, nn.Module], list[Tensor]]:
    """Create the two heads and their input.

    Args:
        size: as in :func:`distribution_cost`.
        classes: as in :func:`distribution_cost`.
        above: as in :func:`distribution_cost`.
        device: as in :func:`distribution_cost`.

    Returns:
        The heads with Dirac and with general sides, and one feature map (1, 256, H, W) per level.

    Raises:
        ValueError: see :func:`distribution_cost`.
    """
    random = torch.Generator().manual_seed(0)
    features = [
        torch.randn(1, _CHANNELS, size // stride, size // stride, generator=random).to(device) for stride in STRIDES
    ]
    heads = _heads(classes, device)
    with torch.no_grad():
        _shift_scores(heads, features, above)
    return heads, features


def _heads(classes: int, device: str) -> tuple[nn.Module, nn.Module]:
    """Heads with Dirac and with general sides and equal weights elsewhere."""
    torch.manual_seed(0)
    general = gfl_head_config(classes, _CHANNELS)
    dirac = {**general, "bbox_coder": {"type": "DiracBBoxCoder"}, "reg_max": None, "loss_dfl": None}
    heads = tuple(
        MODELS.build(ConfigDict(config, test_cfg=gfl_test_cfg())).to(device).eval() for config in (dirac, general)
    )
    shared = {name: value for name, value in heads[1].state_dict().items() if not name.startswith("gfl_reg.")}
    own = {name: value for name, value in heads[0].state_dict().items() if name.startswith("gfl_reg.")}
    shared = {name: value for name, value in shared.items() if not name.startswith("integral.")}
    heads[0].load_state_dict({**shared, **own})
    return heads


def _shift_scores(heads: Sequence[nn.Module], features: list[Tensor], above: int) -> None:
    """Shift the class biases of the heads so that ``above`` logits exceed the score threshold."""
    logits = torch.cat([level.flatten() for level in heads[0](features)[0]])
    if above > len(logits):
        raise ValueError(f"above is {above}, but the heads have only {len(logits)} class logits")
    threshold = torch.tensor(heads[0].test_cfg.score_thr).logit().to(logits)
    shift = threshold - logits.topk(above).values[-1]
    for head in heads:
        head.gfl_cls.bias += shift
