"""The config of any dense detector gets a GFL head, and everything else is unchanged."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import mmengine.registry
import pytest
from mmdet.datasets import CocoDataset
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

import gfl_plugin
from gfl_plugin.analysis.swap_check import STOCK, check_all, dense_configs
from gfl_plugin.commands import swap
from gfl_plugin.projects.head_changes import HEADS
from gfl_plugin.projects.swap_head import DENSE_HEADS, swap_config_file

ROOT = Path(__file__).resolve().parents[2]
# One small config per family; `python tools/check_swaps.py` tests all of them.
ONE_PER_FAMILY = [
    "atss/atss_r18_fpn_8xb8-amp-lsj-200e_coco.py",
    "autoassign/autoassign_r50-caffe_fpn_1x_coco.py",
    "centernet/centernet-update_r18_fpn_8xb8-amp-lsj-200e_coco.py",
    "ddod/ddod_r50_fpn_1x_coco.py",
    "fcos/fcos_r18_fpn_gn-head-center-normbbox-centeronreg-giou_8xb8-amp-lsj-200e_coco.py",
    "foveabox/fovea_r50_fpn_4xb4-1x_coco.py",
    "free_anchor/freeanchor_r50_fpn_1x_coco.py",
    "fsaf/fsaf_r50_fpn_1x_coco.py",
    "gfl/gfl_r50_fpn_1x_coco.py",
    "guided_anchoring/ga-retinanet_r50_fpn_1x_coco.py",
    "paa/paa_r50_fpn_1x_coco.py",
    "reppoints/reppoints-moment_r50_fpn_1x_coco.py",
    "retinanet/retinanet_r18_fpn_1x_coco.py",
    "rtmdet/rtmdet_tiny_8xb32-300e_coco.py",
    "sabl/sabl-retinanet_r50_fpn_1x_coco.py",
    "ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py",
    "tood/tood_r50_fpn_1x_coco.py",
    "vfnet/vfnet_r50_fpn_1x_coco.py",
    "yolof/yolof_r50-c5_8xb8-1x_coco.py",
    "yolox/yolox_tiny_8xb8-300e_coco.py",
]


def stock(name: str) -> Config:
    return Config.fromfile(STOCK / name)


@pytest.mark.once
def test_all_dense_configs_are_found() -> None:
    """MMDetection 3.3.0 has 197, and every dense head except RTMDetHead is in one of them."""
    found = dense_configs()
    assert len(found) == 197
    assert set(DENSE_HEADS) - {head for _, head in found} == {"RTMDetHead"}
    assert set(ONE_PER_FAMILY) <= {name for name, _ in found}


@pytest.mark.parametrize("name", ONE_PER_FAMILY, ids=lambda name: name.split("/")[0])
def test_a_config_of_each_family_builds_trains_a_step_and_predicts(name: str, tmp_path: Path) -> None:
    (check,) = check_all(named(name), tmp_path)
    assert check.failure is None


def named(name: str) -> list[tuple[str, str]]:
    return [(name, stock(name).model.bbox_head.type)]


@pytest.mark.parametrize(
    "name",
    [
        "retinanet/retinanet_r18_fpn_1x_coco.py",
        "fcos/fcos_r18_fpn_gn-head-center-normbbox-centeronreg-giou_8xb8-amp-lsj-200e_coco.py",
        "foveabox/fovea_r50_fpn_4xb4-1x_coco.py",
        "ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py",
        "atss/atss_r18_fpn_8xb8-amp-lsj-200e_coco.py",
    ],
    ids=lambda name: name.split("/")[0],
)
def test_qfl_alone(name: str, tmp_path: Path) -> None:
    (check,) = check_all(named(name), tmp_path, head="qfl")
    assert check.failure is None


def test_gflv2_is_gfl_with_another_quality(tmp_path: Path) -> None:
    """Also where a setting of its quality is given."""
    name = "atss/atss_r18_fpn_8xb8-amp-lsj-200e_coco.py"
    (check,) = check_all(named(name), tmp_path, head="gflv2")
    assert check.failure is None
    base = stock(name)
    gfl = gfl_plugin.swap_head(base).to_dict()
    for settings in ({}, dict(topk=3)):
        overrides = dict(quality=settings) if settings else {}
        swapped = gfl_plugin.swap_head(base, "gflv2", **overrides).to_dict()
        quality = swapped["model"]["bbox_head"].pop("quality")
        assert quality == dict(type="DistributionGuidedQuality", **settings) and swapped == gfl


def test_the_command_offers_all_heads() -> None:
    assert swap.HEADS == HEADS


def test_the_best_recipe_is_gfl_with_other_parts(tmp_path: Path) -> None:
    """It trains, its settings can be overridden, and it is the head of the config in configs/bccd."""
    name = "atss/atss_r18_fpn_8xb8-amp-lsj-200e_coco.py"
    (check,) = check_all(named(name), tmp_path, head="best")
    assert check.failure is None
    swapped = gfl_plugin.swap_head(stock(name), "best", reg_max=8).model.bbox_head
    assert swapped.reg_max == 8
    named_config = Config.fromfile(ROOT / "configs" / "bccd" / "best_r18_bccd.py").model
    own = gfl_plugin.swap_head(stock(name), "best").model
    for key in ("quality", "loss_cls", "loss_dfl", "loss_bbox", "reg_max"):
        assert own.bbox_head[key] == named_config.bbox_head[key], key
    assert own.train_cfg.assigner == named_config.train_cfg.assigner


def test_only_detector_head_and_settings_change(tmp_path: Path) -> None:
    """Data, schedule, backbone and neck are those of the base, in the written config and in memory."""
    base = stock("retinanet/retinanet_r50_fpn_1x_coco.py")
    before = base.to_dict()
    swapped = gfl_plugin.swap_head(base)
    assert base.to_dict() == before
    written = Config.fromfile(swap_config_file("mmdet::retinanet/retinanet_r50_fpn_1x_coco.py", tmp_path / "new.py"))
    assert without_scopes(written.to_dict()) == without_scopes(swapped.to_dict())
    old, new = base.to_dict(), swapped.to_dict()
    assert new.pop("custom_imports") == dict(imports=["gfl_plugin"], allow_failed_imports=False)
    for part in ("type", "bbox_head", "train_cfg", "test_cfg"):
        assert new["model"].pop(part) != old["model"].pop(part)
    assert new == old


def without_scopes(value: object) -> object:
    if isinstance(value, dict):
        return {key: without_scopes(item) for key, item in value.items() if key != "_scope_"}
    return [without_scopes(item) for item in value] if isinstance(value, (list, tuple)) else value


@pytest.mark.parametrize(
    ("name", "strides", "channels", "classes", "depth"),
    [
        ("retinanet/retinanet_r50_fpn_1x_coco.py", [8, 16, 32, 64, 128], 256, 80, 4),
        ("yolox/yolox_tiny_8xb8-300e_coco.py", [8, 16, 32], 96, 80, 2),
        ("yolof/yolof_r50-c5_8xb8-1x_coco.py", [32], 512, 80, 4),
        ("ssd/ssd300_coco.py", [8, 16, 32, 64, 100, 300], 256, 80, 4),
        ("ssd/ssd512_coco.py", [8, 16, 32, 64, 128, 256, 512], 256, 80, 4),
        ("pascal_voc/ssd300_voc0712.py", [8, 16, 32, 64, 100, 300], 256, 20, 4),
        ("rtmdet/rtmdet_x_p6_4xb8-300e_coco.py", [8, 16, 32, 64], 320, 80, 2),
        ("sabl/sabl-retinanet_r50_fpn_1x_coco.py", [8, 16, 32, 64, 128], 256, 80, 4),
        ("reppoints/reppoints-moment_r50_fpn_1x_coco.py", [8, 16, 32, 64, 128], 256, 80, 3),
        ("openimages/retinanet_r50_fpn_32xb2-1x_openimages.py", [8, 16, 32, 64, 128], 256, 601, 4),
    ],
)
def test_what_is_read_from_the_old_head(name: str, strides: list[int], channels: int, classes: int, depth: int) -> None:
    head = gfl_plugin.swap_head(stock(name)).model.bbox_head
    assert list(head.anchor_generator.strides) == strides
    assert (head.in_channels, head.num_classes, head.stacked_convs) == (channels, classes, depth)


def test_unlike_channels_get_a_channel_mapper_behind_the_neck() -> None:
    model = gfl_plugin.swap_head(stock("ssd/ssd300_coco.py")).model
    assert [neck["type"] for neck in model.neck] == ["SSDNeck", "ChannelMapper"]
    assert model.neck[1]["in_channels"] == [512, 1024, 512, 256, 256, 256]
    several = gfl_plugin.swap_head(stock("dyhead/atss_r50_fpn_dyhead_1x_coco.py")).model
    assert [neck["type"] for neck in several.neck] == ["FPN", "DyHead"]


def test_max_per_img_of_the_base_is_kept() -> None:
    assert gfl_plugin.swap_head(stock("ssd/ssd300_coco.py")).model.test_cfg.max_per_img == 200


def test_overrides_are_settings_of_the_head() -> None:
    cfg = gfl_plugin.swap_head(stock("fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py"), reg_max=8, loss_cls=dict(beta=1.5))
    assert cfg.model.bbox_head.reg_max == 8
    assert cfg.model.bbox_head.loss_cls == dict(type="QualityFocalLoss", use_sigmoid=True, beta=1.5, loss_weight=1.0)
    init_default_scope("mmdet")
    head = MODELS.build(cfg.model).bbox_head
    assert head.gfl_reg.out_channels == 36 and head.loss_cls.beta == 1.5


def test_imports_of_the_base_are_kept() -> None:
    base = stock("retinanet/retinanet_r50_fpn_1x_coco.py")
    base.custom_imports = dict(imports=["json"], allow_failed_imports=False)
    assert gfl_plugin.swap_head(base).custom_imports.imports == ["json", "gfl_plugin"]


def test_swapping_again_changes_nothing() -> None:
    once = gfl_plugin.swap_head(stock("gfl/gfl_r50_fpn_1x_coco.py"))
    assert gfl_plugin.swap_head(once).to_dict() == once.to_dict()


@pytest.mark.parametrize(
    ("name", "head", "message"),
    [
        ("faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py", "gfl", r"FasterRCNN has proposals \(rpn_head\)"),
        ("detr/detr_r50_8xb2-150e_coco.py", "gfl", "the head of DETR is a DETRHead.*heads that can be replaced"),
        ("rtmdet/rtmdet-ins_s_8xb32-300e_coco.py", "gfl", "the head of RTMDet is a RTMDetInsSepBNHead"),
        ("condinst/condinst_r50_fpn_ms-poly-90k_coco_instance.py", "gfl", r"CondInst has masks \(mask_head\)"),
        ("cornernet/cornernet_hourglass104_8xb6-210e-mstest_coco.py", "gfl", "the head of CornerNet is a CornerHead"),
        ("_base_/schedules/schedule_1x.py", "gfl", "schedule_1x.py has no model"),
        ("paa/paa_r50_fpn_1x_coco.py", "qfl", "no QFL variant of PAAHead.*RetinaHead"),
        ("retinanet/retinanet_r50_fpn_1x_coco.py", "vfl", "head is 'vfl'; it must be 'gfl', 'gflv2', 'best' or 'qfl'"),
    ],
)
def test_configs_that_cannot_be_swapped_are_an_error(name: str, head: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gfl_plugin.swap_head(stock(name), head)


@pytest.mark.once
@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "swap").glob("*.py")), ids=lambda path: path.stem)
def test_the_configs_in_swap_are_what_the_tool_writes(path: Path, tmp_path: Path) -> None:
    base = path.read_text().split('"')[1]
    head = path.stem.rsplit("_", 1)[1]
    assert swap_config_file(base, tmp_path / path.name, head).read_text() == path.read_text()


def run_tool(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "tools" / "swap_head.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


NEW_STYLE = """
from mmengine.config import read_base

with read_base():
    from .new_style_data import *
from mmdet.models import FPN, DetDataPreprocessor, FocalLoss, L1Loss, ResNet, RetinaHead, RetinaNet
from mmdet.models.task_modules import AnchorGenerator, DeltaXYWHBBoxCoder, MaxIoUAssigner, PseudoSampler
from mmengine.optim import OptimWrapper
from torch.optim import SGD

default_scope = None
optim_wrapper = dict(
    type=OptimWrapper,
    optimizer=dict(type=SGD, lr=0.01),
    paramwise_cfg=dict(custom_keys={"backbone.conv1": dict(lr_mult=0.1)}),
)
anchors = dict(type=AnchorGenerator, ratios=[1.0], scales=[8], strides=[8, 16, 32, 64, 128])
model = dict(
    type=RetinaNet,
    data_preprocessor=dict(type=DetDataPreprocessor),
    backbone=dict(type=ResNet, depth=18),
    neck=dict(type=FPN, in_channels=[64, 128, 256, 512], out_channels=64, start_level=1, num_outs=5),
    bbox_head=dict(
        type=RetinaHead,
        num_classes=3,
        in_channels=64,
        anchor_generator=anchors,
        bbox_coder=dict(type=DeltaXYWHBBoxCoder),
        loss_cls=dict(type=FocalLoss, use_sigmoid=True),
        loss_bbox=dict(type=L1Loss),
    ),
    train_cfg=dict(
        assigner=dict(type=MaxIoUAssigner, pos_iou_thr=0.5, neg_iou_thr=0.4),
        sampler=dict(type=PseudoSampler),
        allowed_border=-1,
        pos_weight=-1,
    ),
    test_cfg=dict(nms_pre=1000, score_thr=0.05, nms=dict(type="nms", iou_threshold=0.5), max_per_img=70),
)
"""
NEW_STYLE_DATA = """
from mmcv.transforms import LoadImageFromFile
from mmdet.datasets import CocoDataset
from mmdet.datasets.transforms import LoadAnnotations, PackDetInputs

train_dataloader = dict(
    dataset=dict(
        type=CocoDataset,
        ann_file="train.json",
        pipeline=[
            dict(type=LoadImageFromFile),
            dict(type=LoadAnnotations, with_bbox=True),
            dict(type=PackDetInputs),
        ],
    ),
)
"""


@pytest.fixture
def new_style(tmp_path: Path) -> Path:
    """A config of Python objects that imports the config of its data."""
    (tmp_path / "new_style_data.py").write_text(NEW_STYLE_DATA)
    (tmp_path / "new_style.py").write_text(NEW_STYLE)
    return tmp_path / "new_style.py"


@pytest.mark.parametrize(
    ("head", "kind"), [("gfl", "GFLHead"), ("gflv2", "GFLHead"), ("best", "GFLHead"), ("qfl", "RetinaQFLHead")]
)
def test_new_style_configs(new_style: Path, tmp_path: Path, head: str, kind: str) -> None:
    """The swapped config loads, builds in any default scope, and keeps the rest, in a file and in memory."""
    base = Config.fromfile(new_style)
    written = Config.fromfile(swap_config_file(new_style, tmp_path / "written.py", head))
    for cfg in (written, gfl_plugin.swap_head(base, head)):
        detector = mmengine.registry.MODELS.build(cfg.model)  # as a Runner without default_scope
        assert type(detector.bbox_head).__name__ == kind
        assert detector.bbox_head.num_classes == 3
        assert detector.test_cfg.max_per_img == 70
    old, new = base.to_dict(), written.to_dict()
    assert (new["train_dataloader"], new["optim_wrapper"]) == (old["train_dataloader"], old["optim_wrapper"])
    assert mmengine.registry.DATASETS.get(written.train_dataloader.dataset.type) is CocoDataset


@pytest.mark.once
def test_the_tool_writes_a_config_that_inherits_and_never_overwrites(tmp_path: Path) -> None:
    out = tmp_path / "retinanet_gfl.py"
    base = "mmdet::retinanet/retinanet_r18_fpn_1x_coco.py"
    done = run_tool(base, "-o", str(out), "--set", "reg_max=8", "loss_cls.beta=1.5")
    assert done.returncode == 0, done.stderr
    text = out.read_text()
    assert text.startswith(f'_base_ = "{base}"\n') and len(text.splitlines()) < 40
    cfg = Config.fromfile(out)
    assert cfg.model.bbox_head.reg_max == 8 and cfg.model.backbone.depth == 18
    again = run_tool(base, "-o", str(out))
    assert again.returncode == 2 and "exists; remove it" in again.stderr
    assert out.read_text() == text
    missing = run_tool("nowhere.py", "-o", str(tmp_path / "x.py"))
    assert missing.returncode == 2 and "config not found: nowhere.py" in missing.stderr
    unknown = run_tool("mmdet::nowhere/a.py", "-o", str(tmp_path / "x.py"))
    assert unknown.returncode == 2 and "config not found: mmdet::nowhere/a.py" in unknown.stderr


def test_a_users_own_config_is_named_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    mine = tmp_path / "mine" / "a.py"
    mine.write_text(
        '_base_ = "mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py"\nmodel = dict(bbox_head=dict(num_classes=3))\n'
    )
    new = swap_config_file(mine, tmp_path / "theirs" / "b.py")
    assert new.read_text().startswith('_base_ = "../mine/a.py"\n')
    assert Config.fromfile(new).model.bbox_head.num_classes == 3


def test_a_base_of_this_package_keeps_its_name(tmp_path: Path) -> None:
    """The written config then works on another machine, wherever the package is installed there."""
    out = swap_config_file("gfl_plugin::bccd/atss_r18_bccd.py", tmp_path / "swapped.py")
    assert out.read_text().startswith('_base_ = "gfl_plugin::bccd/atss_r18_bccd.py"\n')
    assert Config.fromfile(out).model.bbox_head.type == "gfl_plugin.GFLHead"
