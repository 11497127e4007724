"""Configs in pure Python, with ``read_base()`` and imported types, that name the plugin's classes."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.config.utils import ConfigParsingError
from mmengine.registry import init_default_scope
from tool import run_tool

import gfl_plugin

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[2]
DATA = """
from mmcv.transforms import LoadImageFromFile
from mmdet.datasets import AspectRatioBatchSampler, CocoDataset
from mmdet.datasets.transforms import LoadAnnotations, PackDetInputs, Resize
from mmdet.evaluation import CocoMetric
from mmengine.dataset import DefaultSampler

data_root = "DATA_ROOT/"
pipeline = [
    dict(type=LoadImageFromFile),
    dict(type=Resize, scale_factor=1.0, keep_ratio=True),
    dict(type=LoadAnnotations, with_bbox=True),
    dict(type=PackDetInputs, meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
]
dataset = dict(type=CocoDataset, data_root=data_root, metainfo=dict(classes=tuple("0123456789")), pipeline=pipeline)
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type=DefaultSampler, shuffle=True),
    batch_sampler=dict(type=AspectRatioBatchSampler),
    dataset=dict(ann_file="train.json", data_prefix=dict(img="train/"), **dataset),
)
val_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type=DefaultSampler, shuffle=False),
    dataset=dict(ann_file="val.json", data_prefix=dict(img="val/"), test_mode=True, **dataset),
)
val_evaluator = dict(type=CocoMetric, ann_file=data_root + "val.json", metric="bbox")
"""
TRAINING = """
from mmengine.config import read_base

with read_base():
    from .data import *

from gfl_plugin import AssignmentStatsHook, ATSSAssigner, DistributionFocalLoss, GFLHead, GIoULoss, QualityFocalLoss
from mmdet.models import FPN, DetDataPreprocessor, ResNet, SingleStageDetector
from mmdet.models.task_modules import AnchorGenerator
from mmengine.hooks import LoggerHook
from mmengine.optim import OptimWrapper
from mmengine.runner import EpochBasedTrainLoop, ValLoop
from torch.optim import SGD

default_scope = None
strides = [8, 16, 32, 64, 128]
model = dict(
    type=SingleStageDetector,
    data_preprocessor=dict(type=DetDataPreprocessor, pad_size_divisor=32),
    backbone=dict(type=ResNet, depth=18, base_channels=8, norm_eval=False),
    neck=dict(
        type=FPN, in_channels=[8, 16, 32, 64], out_channels=16, start_level=1, add_extra_convs="on_output", num_outs=5
    ),
    bbox_head=dict(
        type=GFLHead,
        num_classes=10,
        in_channels=16,
        feat_channels=16,
        stacked_convs=1,
        norm_cfg=dict(type="GN", num_groups=2),
        anchor_generator=dict(
            type=AnchorGenerator, ratios=[1.0], octave_base_scale=8, scales_per_octave=1, strides=strides
        ),
        loss_cls=dict(type=QualityFocalLoss, use_sigmoid=True, beta=2.0),
        loss_dfl=dict(type=DistributionFocalLoss, loss_weight=0.25),
        loss_bbox=dict(type=GIoULoss, loss_weight=2.0),
    ),
    train_cfg=dict(assigner=dict(type=ATSSAssigner, topk=9), allowed_border=-1, pos_weight=-1),
    test_cfg=dict(nms_pre=1000, score_thr=0.0, nms=dict(type="nms", iou_threshold=0.6), max_per_img=100),
)
train_cfg = dict(type=EpochBasedTrainLoop, max_epochs=1)
val_cfg = dict(type=ValLoop)
optim_wrapper = dict(type=OptimWrapper, optimizer=dict(type=SGD, lr=0.01))
default_hooks = dict(logger=dict(type=LoggerHook, interval=1))
custom_hooks = [dict(type=AssignmentStatsHook, interval=1)]
"""


@pytest.fixture
def config(demo_data: Path, tmp_path: Path) -> Path:
    (tmp_path / "data.py").write_text(DATA.replace("DATA_ROOT", str(demo_data)))
    (tmp_path / "new_style.py").write_text(TRAINING)
    return tmp_path / "new_style.py"


def run(*words: object) -> subprocess.CompletedProcess:
    done = run_tool(ROOT / "gfl_plugin_cli.py", *words)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done


def test_an_epoch_trains_the_imported_classes(config: Path, tmp_path: Path) -> None:
    """Losses and statistics of the plugin are logged, and the validation measures."""
    run("train", config, "--work-dir", tmp_path / "work")
    (log,) = (tmp_path / "work").glob("*/*.log")
    text = log.read_text()
    for name in ("loss_cls", "loss_bbox", "loss_dfl", "assign/positives_per_object", "coco/bbox_mAP"):
        assert f"{name}: " in text, name
    losses = [float(value) for value in re.findall(r" loss: (\S+)", text)]
    assert len(losses) == 2 and all(0 < value < 100 for value in losses)
    assert torch.load(tmp_path / "work" / "epoch_1.pth")["meta"]["epoch"] == 1


def test_print_config_writes_it_with_types_as_names(config: Path, tmp_path: Path) -> None:
    """The saved file needs neither the base nor the imports, and builds a head with the same settings."""
    saved = tmp_path / "saved" / "whole.json"
    done = run("run", "misc/print_config.py", config, "--save-path", saved)
    written = json.loads(saved.read_text())
    head = written["model"]["bbox_head"]
    assert head["type"] == "gfl_plugin.GFLHead" and head["type"] in done.stdout
    init_default_scope("mmdet")
    built = [MODELS.build(Config.fromfile(file).model).bbox_head for file in (config, saved)]
    assert [type(one) for one in built] == [gfl_plugin.GFLHead] * 2
    assert str(built[0]) == str(built[1])
    assert [type(one.assigner) for one in built] == [gfl_plugin.ATSSAssigner] * 2


def test_mmdetections_own_new_style_configs_are_not_in_its_wheel(tmp_path: Path) -> None:
    """MMDetection has them in a checkout only; docs/mmdetection-tools.md says so."""
    (tmp_path / "theirs.py").write_text(
        "from mmengine.config import read_base\nwith read_base():\n"
        "    from mmdet.configs.retinanet.retinanet_r50_fpn_1x_coco import *\n"
    )
    folder = Path(__import__("mmdet").__file__).parent / "configs"
    if folder.is_dir():
        assert "model" in Config.fromfile(tmp_path / "theirs.py")
    else:
        with pytest.raises(ConfigParsingError, match="mmdet/configs/retinanet/.* not found"):
            Config.fromfile(tmp_path / "theirs.py")
