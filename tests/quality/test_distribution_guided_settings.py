"""Checkpoints and settings of GFLV2's quality."""

from __future__ import annotations

import pytest
import torch
from cases import our_head
from mmengine.runner.checkpoint import load_state_dict
from quality.gflv2_reference import reference_head

QUALITY = dict(topk=4, values=True, mean=True, variance=False, hidden=64)


def test_checkpoints_of_the_authors_and_own_ones_load_strictly() -> None:
    """The authors' names are those of the reference head; own checkpoints keep their names."""
    official = reference_head(QUALITY).float().state_dict()
    assert {key for key in official if "reg_conf." in key} == {
        f"reg_conf.{layer}.{kind}" for layer in (0, 2) for kind in ("weight", "bias")
    }
    own = {key.replace("reg_conf.", "quality.reg_conf."): value for key, value in official.items()}
    for load in (torch.nn.Module.load_state_dict, load_state_dict):
        for saved in (official, own):
            detector = torch.nn.ModuleDict({"bbox_head": our_head(quality=dict(type="DistributionGuidedQuality"))})
            load(detector, {f"bbox_head.{key}": value for key, value in saved.items()}, strict=True)
            found = detector["bbox_head"].state_dict()
            assert found.keys() == own.keys()
            assert all(torch.equal(value, found[key]) for key, value in own.items())


def test_a_checkpoint_of_gfl_is_a_start() -> None:
    """Only the quality layers are missing."""
    head = our_head(quality=dict(type="DistributionGuidedQuality"))
    missing, unexpected = head.load_state_dict(our_head().state_dict(), strict=False)
    assert set(missing) == {f"quality.{name}" for name in head.quality.state_dict()} and not unexpected


@pytest.mark.parametrize("prefix", ["", "quality."])
def test_a_plain_gfl_head_does_not_load_gflv2(prefix: str) -> None:
    """Its scores would lack a factor, which MMEngine would only log."""
    state = our_head(quality=dict(type="DistributionGuidedQuality")).state_dict()
    state = {key.replace("quality.", prefix): value for key, value in state.items()}
    with pytest.raises(ValueError, match="GFLV2.*quality=dict\\(type='DistributionGuidedQuality'\\)"):
        our_head().load_state_dict(state, strict=False)


def test_layers_of_another_size_are_an_error() -> None:
    state = our_head(quality=dict(type="DistributionGuidedQuality", topk=3, hidden=8)).state_dict()
    head = our_head(quality=dict(type="DistributionGuidedQuality"))
    with pytest.raises(ValueError, match="16 statistics and hidden=8, this head's 20 and hidden=64; set topk"):
        head.load_state_dict(state, strict=False)


@pytest.mark.parametrize(
    ("quality", "changes", "message"),
    [
        (dict(topk=0), {}, "topk is 0; it must be a whole number >= 1 .*4"),
        (dict(topk=2.0), {}, "topk is 2.0; it must be a whole number"),
        (dict(topk=True), {}, "topk is True; it must be a whole number"),
        (dict(values=3), {}, "values is 3; it must be True or False"),
        (dict(variance="no"), {}, "variance is 'no'; it must be True or False"),
        (dict(hidden=0), {}, "hidden is 0; it must be a whole number >= 1 .*64"),
        (dict(values=False, mean=False), {}, "values, mean and variance .* all False.*at least one"),
        (dict(topk=18), {}, r"topk is 18, but a side has 17 bins \(reg_max=16\); write a topk <= 17"),
        (dict(), dict(reg_max=2), r"topk is 4, but a side has 3 bins \(reg_max=2\)"),
        (dict(), dict(bbox_coder=dict(type="DiracBBoxCoder"), loss_dfl=None), "DiracBBoxCoder.*no bins.*IntegralBBox"),
        (dict(), dict(bbox_coder=dict(type="GaussianBBoxCoder"), loss_dfl="by_coder"), "GaussianBBoxCoder.*no bins"),
        (dict(), dict(loss_cls=dict(activated=True)), "activated=True.*leave activated out"),
        (
            dict(),
            dict(loss_cls=dict(type="FocalLoss", beta=None)),
            r"loss_cls is a mmdet\..*FocalLoss.*gfl_plugin.QualityFocalLoss",
        ),
    ],
)
def test_mistakes(quality: dict, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        our_head(quality=dict(type="DistributionGuidedQuality", **quality), **changes)


@pytest.mark.parametrize("loss_cls", [None, dict(use_sigmoid=False), dict(use_sigmoid=True)])
def test_the_authors_use_sigmoid_false_has_the_same_loss(loss_cls: dict | None) -> None:
    """test_distribution_guided_quality.py uses it for the loss of the authors. Heads of other qualities reject it."""
    head = our_head(quality=dict(type="DistributionGuidedQuality"), loss_cls=loss_cls)
    assert head.loss_cls.use_sigmoid and head.loss_cls.beta == 2.0
    with pytest.raises(ValueError, match="use_sigmoid=False.*write use_sigmoid=True"):
        our_head(loss_cls=dict(use_sigmoid=False))
