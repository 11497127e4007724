"""The study peers: MMDetection's dense heads in the small detector, and the scale bccd that trains them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmcv.ops import deform_conv
from mmdet.models.dense_heads import tood_head
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from torch import nn

from gfl_plugin.analysis.studies.deform_conv_on_cpu import use_pytorch_deform_conv
from gfl_plugin.analysis.studies.scale import SCALES
from gfl_plugin.analysis.studies.study import Variant, find_study
from gfl_plugin.analysis.swap_check import try_out

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
PEERS = find_study(CONFIGS / "ablation", "peers").variants
# Settings of a head that depend on the scale.
SIZES = {"in_channels", "feat_channels", "stacked_convs", "num_classes", "use_dcn", "_scope_"}


@pytest.fixture(autouse=True)
def _as_in_a_run_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """MMDetection's heads have their own deformable convolution again after the test."""
    for module in (deform_conv, tood_head):
        monkeypatch.setattr(module, "deform_conv2d", module.deform_conv2d)
    use_pytorch_deform_conv()


def small(variant: Variant) -> Config:
    return SCALES["bccd"].config(variant, CONFIGS, Path("/data"))


@pytest.mark.parametrize(
    ("name", "epoch"),
    [*((variant.name, 0) for variant in PEERS), ("tood", 10)],  # TOOD has another assigner in the first epochs
)
def test_a_peer_trains_and_predicts(name: str, epoch: int) -> None:
    """On images of the height of the scale, so that the coarsest level is as small."""
    MessageHub.get_current_instance().update_info("epoch", epoch)
    try_out(small(next(variant for variant in PEERS if variant.name == name)), side=256)


@pytest.mark.parametrize("variant", PEERS, ids=lambda variant: variant.name)
def test_a_small_peer_is_its_coco_config_apart_from_its_size(variant: Variant) -> None:
    full, ours = Config.fromfile(variant.path).model.to_dict(), small(variant).model.to_dict()
    heads = [model.pop("bbox_head") for model in (full, ours)]
    assert {key for key in {**heads[0], **heads[1]} if heads[0].get(key) != heads[1].get(key)} <= SIZES
    for part in ("train_cfg", "test_cfg", "type"):
        assert ours.get(part) == full.get(part)


def test_peers_differ_only_in_their_heads_and_have_towers_of_a_similar_size() -> None:
    """Without VFNet, which has a second step that refines each box, heads have 150 to 190 thousand weights."""
    configs = [small(variant).to_dict() for variant in PEERS]
    weights = {}
    for variant, cfg in zip(PEERS, configs):
        init_default_scope("mmdet")
        head = MODELS.build(cfg["model"]).bbox_head
        weights[variant.name] = sum(p.numel() for p in head.parameters())
        for key in ("type", "bbox_head", "train_cfg", "test_cfg"):
            cfg["model"].pop(key)
    assert all(cfg == configs[0] for cfg in configs)
    weights.pop("vfnet")
    assert max(weights.values()) < 1.3 * min(weights.values())


def test_adamw_decays_the_weights_of_convolutions_only() -> None:
    cfg = small(PEERS[0])
    init_default_scope("mmdet")
    model = MODELS.build(cfg.model)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    assert isinstance(wrapper.optimizer, torch.optim.AdamW)
    decay = {id(group["params"][0]): group["weight_decay"] for group in wrapper.optimizer.param_groups}
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)):
            for name, parameter in module.named_parameters(recurse=False):
                assert decay[id(parameter)] == (0.05 if isinstance(module, nn.Conv2d) and name == "weight" else 0.0)
