"""A widened checkpoint works alone: with the config in it, its weights, and nothing of the old training."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.apis import inference_detector, init_detector
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.model import ExponentialMovingAverage
from mmengine.registry import init_default_scope

from gfl_plugin import cli
from gfl_plugin.projects.widen_checkpoint import widen_checkpoint
from gfl_plugin.runtime.checkpoints import embedded_config, read
from gfl_plugin.runtime.errors import CheckpointError
from gfl_plugin.runtime.publish import publish

ROOT = Path(__file__).resolve().parents[2]
CLASSES = tuple("0123456789")


@pytest.fixture(scope="module")
def cfg() -> Config:
    return Config.fromfile(ROOT / "configs" / "demo" / "gfl_r18_demo.py")


@pytest.fixture(scope="module")
def content(cfg: Config) -> dict:
    """A checkpoint as MMEngine saves it with EMAHook: the average is ``state_dict``, the model ``ema_state_dict``."""
    init_default_scope("mmdet")
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    for weight in (model.bbox_head.gfl_reg.weight, model.bbox_head.gfl_cls.weight):
        torch.nn.init.normal_(weight, std=0.2)
    torch.nn.init.zeros_(model.bbox_head.gfl_cls.bias)
    average = ExponentialMovingAverage(model, momentum=0.5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for parameter in model.parameters():
        parameter.grad = 0.01 * torch.randn_like(parameter)
    optimizer.step()
    average.update_parameters(model)
    weights, averaged = model.state_dict(), average.state_dict()
    for name in list(averaged):
        if name.startswith("module."):
            plain = name.removeprefix("module.")
            averaged[name], weights[plain] = weights[plain], averaged[name]
    return dict(
        meta=dict(cfg=cfg.pretty_text, dataset_meta=dict(classes=CLASSES), epoch=12, iter=48),
        state_dict=weights,
        ema_state_dict=averaged,
        optimizer=optimizer.state_dict(),
        param_schedulers=[dict(last_step=3)],
        message_hub=dict(log_scalars={}, runtime_info={}, resumed_keys={}),
    )


def saved(path: Path, content: dict) -> Path:
    torch.save(content, path)
    return path


def test_outputs_from_the_checkpoint_alone_are_the_same(content: dict, tmp_path: Path) -> None:
    """Model and bins come from the config in each file. Scores and labels are equal, boxes to 0.001 px."""
    old = saved(tmp_path / "old.pth", content)
    new = widen_checkpoint(old, tmp_path / "new.pth", reg_max=24).path
    image = np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)
    found = []
    for path, reg_max in ((old, 16), (new, 24)):
        detector = init_detector(embedded_config(path), str(path), device="cpu", palette="none")
        assert detector.bbox_head.gfl_reg.out_channels == 4 * (reg_max + 1)
        assert detector.bbox_head.bbox_coder.reg_max == reg_max
        found.append(inference_detector(detector, image).pred_instances)
    before, after = found
    assert len(before) > 10
    assert torch.equal(before.scores, after.scores) and torch.equal(before.labels, after.labels)
    torch.testing.assert_close(after.bboxes, before.bboxes, rtol=0, atol=1e-3)


def test_weights_load_strictly_and_the_average_is_widened_too(content: dict, cfg: Config, tmp_path: Path) -> None:
    """The moving average and the model under training are separate weights, each with its own bias."""
    widened = widen_checkpoint(saved(tmp_path / "old.pth", content), tmp_path / "new.pth", reg_max=24)
    written = read(widened.path)
    assert [head.prefix for head in widened.heads] == ["bbox_head.", "module.bbox_head."]
    wide = cfg.copy()
    wide.model.bbox_head.reg_max = 24
    model = MODELS.build(wide.model)
    model.load_state_dict(written["state_dict"], strict=True)
    ExponentialMovingAverage(model).load_state_dict(written["ema_state_dict"], strict=True)
    changed = {"bbox_head.gfl_reg.weight", "bbox_head.gfl_reg.bias", "bbox_head.integral.project"}
    assert list(written["state_dict"]) == list(content["state_dict"])
    assert written["state_dict"]._metadata == content["state_dict"]._metadata  # versions of the modules
    for part, prefix in (("state_dict", ""), ("ema_state_dict", "module.")):
        for name, value in content[part].items():
            assert torch.equal(written[part][name], value) == (name.removeprefix(prefix) not in changed), name


def test_state_of_the_old_training_is_left_out_and_named(content: dict, tmp_path: Path) -> None:
    """A training cannot be resumed from it; ``meta`` is kept, with the new bins in its config."""
    widened = widen_checkpoint(saved(tmp_path / "old.pth", content), tmp_path / "new.pth", reg_max=24)
    written = read(widened.path)
    assert written.keys() == {"meta", "state_dict", "ema_state_dict"}
    assert widened.notes == (
        "left out optimizer, param_schedulers, message_hub: this state belongs to the old training; start the new one "
        "with load_from, not with --resume",
    )
    before, after = embedded_config(tmp_path / "old.pth"), embedded_config(widened.path)
    assert after.model.bbox_head.pop("reg_max") == 24
    assert before.model.bbox_head.pop("reg_max", 16) == 16  # the default, which need not be written
    assert after.to_dict() == before.to_dict()
    assert {**written["meta"], "cfg": None} == {**content["meta"], "cfg": None}


@pytest.mark.parametrize(
    ("request_", "head"),
    [
        (dict(reg_max=24), dict(reg_max=24)),
        (
            dict(reg_max=32, step=0.5),
            dict(reg_max=32, type="gfl_plugin.GFLHead", bbox_coder=dict(type="gfl_plugin.IntegralBBoxCoder", step=0.5)),
        ),
        (
            dict(bins=range(-2, 20)),
            dict(
                reg_max=21, type="gfl_plugin.GFLHead", bbox_coder=dict(type="gfl_plugin.IntegralBBoxCoder", first=-2.0)
            ),
        ),
        (
            dict(add=[20, 32]),
            dict(
                reg_max=18,
                type="gfl_plugin.GFLHead",
                bbox_coder=dict(type="gfl_plugin.IntegralBBoxCoder", bins=[*map(float, range(17)), 20.0, 32.0]),
            ),
        ),
    ],
    ids=["wider", "finer", "negative", "uneven"],
)
def test_the_config_of_mmdetections_own_head(
    request_: dict, head: dict, content: dict, cfg: Config, tmp_path: Path
) -> None:
    """It stays MMDetection's for 0, 1, ..., n, and becomes this package's for other bins, which only that has."""
    own = cfg.copy()
    own.model.bbox_head.type = "GFLHead"
    own.pop("custom_imports", None)
    old = saved(tmp_path / "old.pth", {**content, "meta": {**content["meta"], "cfg": own.pretty_text}})
    widened = widen_checkpoint(old, tmp_path / "new.pth", **request_)
    assert widened.settings == head
    changed = embedded_config(widened.path)
    assert {key: changed.model.bbox_head[key] for key in head} == head
    assert ("gfl_plugin" in changed.get("custom_imports", {}).get("imports", [])) == ("type" in head)
    built = MODELS.build(changed.model)
    weights = read(widened.path)["state_dict"]
    built.load_state_dict(weights, strict=True)
    if "type" in head:
        assert torch.equal(built.bbox_head.bbox_coder.bins(), weights["bbox_head.integral.project"])


def test_old_bins_of_a_coder_are_not_inherited(content: dict, cfg: Config, tmp_path: Path) -> None:
    """From a list of bins to uniform ones: the config gets ``_delete_``, and other settings of the coder stay."""
    listed = cfg.copy()
    listed.model.bbox_head.bbox_coder = dict(
        type="gfl_plugin.IntegralBBoxCoder", clip_border=False, bins=[float(bin_) for bin_ in range(17)]
    )
    old = saved(tmp_path / "old.pth", {**content, "meta": {**content["meta"], "cfg": listed.pretty_text}})
    widened = widen_checkpoint(old, tmp_path / "new.pth", reg_max=24)
    coder = dict(type="gfl_plugin.IntegralBBoxCoder", clip_border=False)
    assert widened.settings == dict(reg_max=24, bbox_coder=dict(_delete_=True, **coder))
    assert embedded_config(widened.path).model.bbox_head.bbox_coder == coder
    listed.merge_from_dict(dict(model=dict(bbox_head=widened.settings)))
    assert listed.model.bbox_head.bbox_coder == coder


def test_weights_alone_and_published_weights(content: dict, tmp_path: Path) -> None:
    """A dict of tensors stays one. Published weights bring their config."""
    plain = saved(tmp_path / "weights.pth", content["state_dict"])
    widened = widen_checkpoint(plain, tmp_path / "new.pth", reg_max=24)
    weights = read(widened.path)
    assert weights.keys() == content["state_dict"].keys()
    published = publish(saved(tmp_path / "old.pth", content), tmp_path / "released")
    from_published = read(widen_checkpoint(published, tmp_path / "again.pth", reg_max=24).path)
    assert all(torch.equal(from_published["state_dict"][name], value) for name, value in weights.items())


def test_without_a_config_strides_are_those_of_five_levels_or_of_a_config_file(content: dict, tmp_path: Path) -> None:
    weights = OrderedDict(content["state_dict"])
    five = widen_checkpoint(saved(tmp_path / "five.pth", weights), tmp_path / "new.pth", reg_max=24)
    assert five.strides == (8, 16, 32, 64, 128)
    del weights["bbox_head.scales.4.scale"]
    four = saved(tmp_path / "four.pth", weights)
    with pytest.raises(ValueError, match="contains no config, and its head has 4 levels.*--config"):
        widen_checkpoint(four, tmp_path / "out.pth", reg_max=24)
    with pytest.raises(ValueError, match="the config has 5 strides .* and the checkpoint's head 4 levels"):
        widen_checkpoint(four, tmp_path / "out.pth", reg_max=24, config="gfl_plugin::gfl/gfl_r50_fpn_1x_coco.py")
    with pytest.raises(ValueError, match="the config has no GFL head"):
        widen_checkpoint(four, tmp_path / "out.pth", reg_max=24, config="mmdet::atss/atss_r50_fpn_1x_coco.py")
    (tmp_path / "four.py").write_text(
        "model = dict(bbox_head=dict(type='GFLHead', anchor_generator=dict(strides=[4, 8, 16, 32])))\n"
    )
    found = widen_checkpoint(four, tmp_path / "out.pth", reg_max=24, config=tmp_path / "four.py")
    assert found.strides == (4, 8, 16, 32) and found.settings == dict(reg_max=24)


def test_a_config_that_cannot_be_changed_is_reported(content: dict, tmp_path: Path) -> None:
    old = saved(tmp_path / "old.pth", {**content, "meta": {**content["meta"], "cfg": "model = build()\n"}})
    widened = widen_checkpoint(old, tmp_path / "new.pth", reg_max=24)
    assert widened.notes[0].startswith(
        "the config in the checkpoint keeps the old bins, because it cannot be changed: "
    )
    assert read(widened.path)["meta"]["cfg"] == "model = build()\n"


@pytest.mark.parametrize("name", ["bbox_head.reg_conf.0.weight", "bbox_head.quality.reg_conf.0.weight"])
def test_gflv2_statistics_layers_are_kept(name: str, content: dict, tmp_path: Path) -> None:
    """The authors' name and this package's."""
    weights = {**content["state_dict"], name: torch.randn(64, 20, 1, 1)}
    widened = widen_checkpoint(saved(tmp_path / "old.pth", weights), tmp_path / "new.pth", reg_max=24)
    (note,) = [one for one in widened.notes if "reg_conf" in one]
    assert note.startswith("bbox_head.: GFLV2's reg_conf is kept; the probabilities that it reads change by less than ")
    assert widened.heads[0].new_probability < 1e-6
    assert torch.equal(read(widened.path)[name], weights[name])


def test_nothing_is_written_over_or_next_to_nothing(content: dict, tmp_path: Path) -> None:
    old = saved(tmp_path / "old.pth", content)
    before = old.read_bytes()
    for out, kind, message in (
        (old, FileExistsError, "old.pth exists"),
        (tmp_path / "no" / "new.pth", FileNotFoundError, "folder not found: .*no; create it"),
        (tmp_path / "new.safetensors", ValueError, "name a .pth file, then run: gfl-plugin publish"),
    ):
        with pytest.raises(kind, match=message):
            widen_checkpoint(old, out, reg_max=24)
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(CheckpointError, match="not a PyTorch checkpoint"):
        widen_checkpoint(tmp_path / "text.pth", tmp_path / "new.pth", reg_max=24)
    with pytest.raises(ValueError, match="bin 13 is not among"):
        widen_checkpoint(old, tmp_path / "new.pth", reg_max=12)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old.pth", "text.pth"]
    assert old.read_bytes() == before


def test_the_command_prints_bounds_and_config(
    content: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """The printed lines are a config that, on top of the training's, loads the new weights."""
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "old.pth", content)
    assert (
        cli.main(["widen", "old.pth", "--bins", "0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18", "-o", "new.pth"]) == 0
    )
    printed = capsys.readouterr().out
    assert "bbox_head.: 17 bins (0, 1, ..., 16), now 19 (0, 1, ..., 18)" in printed
    bounds = [line.split()[-3] for line in printed.splitlines() if line.rstrip(" │|").endswith("px")]
    assert len(bounds) == 10 and all(float(bound) <= 5e-4 for bound in bounds)
    lines = list(itertools.dropwhile(lambda line: not line.startswith("model = "), printed.splitlines()))
    (tmp_path / "my.py").write_text(
        "\n".join([f"_base_ = {str(ROOT / 'configs/demo/gfl_r18_demo.py')!r}", *lines]) + "\n"
    )
    mine = Config.fromfile(tmp_path / "my.py")
    model = MODELS.build(mine.model)
    model.load_state_dict(read(mine.load_from)["state_dict"], strict=True)
