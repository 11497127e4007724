"""RTMDet's and YOLOX's training with a GFL head: their pipelines and hooks, for two epochs on a few images of BCCD."""

from __future__ import annotations

import math
import os
from pathlib import Path

import gfl_plugin  # noqa: F401  # isort: skip  (must precede mmdet without compiled ops)
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.hooks import EMAHook
from mmengine.runner import Runner

from gfl_plugin import GFLHead, find_config, swap_head

pytestmark = [pytest.mark.once, pytest.mark.slow]

TRAIN, VAL = 6, 2  # images
CLASSES = ("RBC", "WBC", "Platelets")
SHRUNK = 5  # COCO's 640 px become 128 px
# Sizes in pixels of transforms and of YOLOX's random sizes per batch.
SIZES = ("scale", "img_scale", "crop_size", "size", "border", "random_size_range")


def shrink(settings: object) -> None:
    """Divide all sizes of pipelines in place."""
    if isinstance(settings, dict):
        for key, value in settings.items():
            if key in SIZES and isinstance(value, (tuple, list)) and all(isinstance(side, int) for side in value):
                settings[key] = tuple(32 * round(side / SHRUNK / 32) for side in value)
            else:
                shrink(value)
    elif isinstance(settings, (list, tuple)):
        for one in settings:
            shrink(one)


def on_bccd(dataset: ConfigDict, data: Path, ann_file: Path) -> None:
    """Make a COCO dataset read images of BCCD."""
    for key in ("data_root", "data_prefix", "backend_args"):
        dataset.pop(key, None)
    dataset.update(
        type="XMLDataset",
        data_root=f"{data}/",
        ann_file=str(ann_file),
        data_prefix=dict(sub_data_root=""),
        img_subdir="JPEGImages",
        ann_subdir="Annotations",
        metainfo=dict(classes=CLASSES),
    )


def small(name: str, data: Path, folder: Path) -> Config:
    """A config of MMDetection with a GFL head, few small images, two epochs, and stages that change after the first."""
    cfg = swap_head(Config.fromfile(find_config(f"mmdet::{name}.py")), num_classes=len(CLASSES))
    cfg.model.backbone.init_cfg = None
    names = (data / "ImageSets" / "Main" / "train.txt").read_text().split()
    for split, chosen in (("train", names[:TRAIN]), ("val", names[TRAIN : TRAIN + VAL])):
        (folder / f"{split}.txt").write_text("\n".join(chosen) + "\n")
    train = cfg.train_dataloader.dataset
    on_bccd(train.get("dataset", train), data, folder / "train.txt")
    on_bccd(cfg.val_dataloader.dataset, data, folder / "val.txt")
    pack = cfg.val_dataloader.dataset.pipeline[-1]
    pack.meta_keys = (*pack.meta_keys, "instances")
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.update(batch_size=2, num_workers=0, persistent_workers=False, pin_memory=False)
    cfg.val_evaluator = dict(type="CocoMetric", metric="bbox")
    for key in ("test_dataloader", "test_evaluator", "test_cfg"):
        cfg[key] = None
    for part in (cfg.train_dataloader, cfg.val_dataloader, cfg.custom_hooks, cfg.model.data_preprocessor):
        shrink(part)
    cfg.train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=2, val_interval=1)
    cfg.param_scheduler = None
    cfg.model.test_cfg.score_thr = 0.0
    cfg.optim_wrapper.optimizer.lr = 1e-3
    cfg.default_hooks.checkpoint.interval = 1
    for hook in cfg.custom_hooks:
        if hook.type == "PipelineSwitchHook":
            hook.switch_epoch = 1
        if hook.type == "YOLOXModeSwitchHook":
            hook.num_last_epochs = 1
    cfg.update(work_dir=str(folder / "work"), log_level="WARNING", experiment_name=folder.name)
    cfg.visualizer.name = folder.name
    return cfg


@pytest.fixture(params=["rtmdet/rtmdet_tiny_8xb32-300e_coco", "yolox/yolox_tiny_8xb8-300e_coco"])
def trained(request: pytest.FixtureRequest, gfl_data: Path, tmp_path: Path) -> Runner:
    cfg = small(request.param, gfl_data / "bccd", tmp_path)
    run = Runner.from_cfg(cfg)
    run.train()
    return run


def test_the_head_trains_with_the_hooks_of_the_detector(trained: Runner) -> None:
    """Losses are finite, the moving average is validated and saved, and the last epoch has the second pipeline."""
    assert isinstance(trained.model.bbox_head, GFLHead)
    losses = trained.message_hub.get_scalar("train/loss").data[0]
    assert len(losses) == 2 * math.ceil(TRAIN / 2) and all(map(math.isfinite, losses))
    assert trained.message_hub.get_scalar("val/coco/bbox_mAP").current() >= 0

    (average,) = (hook for hook in trained.hooks if isinstance(hook, EMAHook))
    saved = torch.load(os.path.join(trained.work_dir, "epoch_2.pth"))
    name = "bbox_head.gfl_cls.weight"
    # EMAHook saves the average as the weights, and the weights of the last step as ema_state_dict.
    assert not torch.equal(saved["state_dict"][name], saved["ema_state_dict"][f"module.{name}"])
    assert torch.equal(saved["state_dict"][name], average.ema_model.module.state_dict()[name])

    dataset = trained.train_dataloader.dataset
    if hasattr(dataset, "_skip_type_keys"):  # YOLOX
        assert set(dataset._skip_type_keys) == {"Mosaic", "RandomAffine", "MixUp"}
    else:
        used = [type(step).__name__ for step in dataset.pipeline.transforms]
        assert "RandomResize" in used and "CachedMosaic" not in used and "CachedMixUp" not in used
