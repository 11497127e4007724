"""Scales of a study: its configs unchanged, or their heads with a small detector and small data."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from mmengine.config import Config

from ...demo.dataset import DemoSize
from ...runtime.config_files import find_config
from .study import Variant
from .study_data import BccdData, CocoData, EmbeddedData, StudyData, environment_variable


class Scale(Protocol):
    """Creates the config that is trained for a variant."""

    data: StudyData

    def config(self, variant: Variant, configs: Path, data: Path) -> Config:
        """Create the config to train.

        Args:
            variant: variant of a study.
            configs: the folder ``configs``.
            data: folder of the data.

        Returns:
            The config.
        """


@dataclass(frozen=True)
class FullScale:
    """The configs unchanged."""

    data: StudyData

    def config(self, variant: Variant, configs: Path, data: Path) -> Config:
        """See :class:`Scale`."""
        cfg = Config.fromfile(variant.path)
        _add_hooks(cfg, cfg.pop("ablation"))
        require_teacher(variant, cfg.model)
        return cfg


@dataclass(frozen=True)
class SmallScale:
    """Heads of the configs with the small detector of ``configs/_base_`` and small data."""

    data: StudyData
    data_config: str  # file in configs/_base_
    epochs: int
    batch: int  # images per step
    classes: int  # number of classes
    image_scale: tuple[int, int] | None  # (width, height) to which images are resized; None to keep their size
    detector: str = "small_detector.py"  # file in configs/_base_
    own_levels: bool = False  # whether levels and priors are those of the small detector, not of the configs' heads
    schedule: str = "small_schedule.py"  # file in configs/_base_

    def config(self, variant: Variant, configs: Path, data: Path) -> Config:
        """See :class:`Scale`."""
        base = configs / "_base_"
        full = Config.fromfile(variant.path)
        require_teacher(variant, full.model)
        cfg = Config.fromfile(base / self.schedule)
        with environment_variable(self.data.variable, data):
            cfg.merge_from_dict(Config.fromfile(base / self.data_config).to_dict())
        cfg.model = self._model(full, Config.fromfile(base / self.detector).model)
        cfg.optim_wrapper.update({name: full.optim_wrapper[name] for name in _PRECISION if name in full.optim_wrapper})
        _add_hooks(cfg, full.ablation)
        train_for(cfg, self.epochs)
        cfg.default_hooks.checkpoint.update(save_optimizer=False)
        cfg.train_dataloader.batch_size = self.batch
        if self.image_scale is not None:
            for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
                for step in loader.dataset.pipeline:
                    if step["type"] == "Resize":
                        step["scale"] = self.image_scale
        return cfg

    def _model(self, cfg: Config, small: dict) -> dict:
        """The full model with the small backbone and neck; its head gets the size and the classes of the small one.

        A teacher gets the same scale, with the settings of its own variant.
        """
        full = cfg.model
        model = full.copy()
        model.setdefault("train_cfg", None)
        for part in ("data_preprocessor", "backbone", "neck"):
            model[part] = small[part].copy()
        head = model.bbox_head = full.bbox_head.copy()
        levels = len(head.in_channels) if isinstance(head.in_channels, (list, tuple)) else None
        width = small.bbox_head.in_channels
        head.in_channels = width if levels is None else [width] * levels
        head.num_classes = self.classes
        if self.own_levels:
            head.anchor_generator = small.bbox_head.anchor_generator
        for key in ("feat_channels", "stacked_convs"):
            if key in head:
                head[key] = small.bbox_head[key]
        if levels is not None:
            model.neck.num_outs = levels
        if "teacher_config" in full:
            model.teacher_config = dict(model=self._model(Config.fromfile(find_config(full.teacher_config)), small))
        model.merge(cfg.ablation.get("small_model", {}))
        return model


def _add_hooks(cfg: Config, ablation: dict) -> None:
    """Add the hooks of a variant."""
    if "hooks" in ablation:
        cfg.custom_hooks = [*cfg.get("custom_hooks", ()), *ablation["hooks"]]


_PRECISION = ("type", "dtype", "loss_scale")  # of optim_wrapper

_BCCD = SmallScale(
    BccdData(),
    "bccd_data.py",
    epochs=48,
    batch=8,
    classes=3,
    image_scale=(320, 240),
    schedule="small_schedule_adamw.py",
)
_DEMO = SmallScale(
    EmbeddedData(DemoSize(train=600, val=300, side=128)),
    "demo_data.py",
    epochs=16,
    batch=8,
    classes=10,
    image_scale=None,
    schedule="small_schedule_adamw.py",
)

_DEMO_DATA = EmbeddedData(DemoSize(train=600, val=150, side=160))  # of configs/demo

# Digits whose training annotations have noise of a known law on each side, on one level of stride 8.
_NOISE = SmallScale(
    EmbeddedData(
        DemoSize(train=1200, val=200, side=256, digits="broad", noise=("skewed", "wide", "two_peaks", "sharp"))
    ),
    "demo_boxes_data.py",
    epochs=8,
    batch=4,
    classes=1,
    image_scale=None,
    detector="small_single_level.py",
    own_levels=True,
)

SCALES: dict[str, Scale] = {
    # For comparisons of heads whose learning rates are tuned, with the option --lr of gfl-plugin ablate. About three
    # and five minutes on one core.
    "demo": _DEMO,
    "bccd": _BCCD,
    # Half the epochs, with SGD: about one minute on one core.
    "demo_sgd": replace(_DEMO, epochs=8, schedule="small_schedule.py"),
    # Ten minutes on one core: the data and the schedules of configs/demo and configs/bccd.
    "demo_long": SmallScale(
        _DEMO_DATA,
        "demo_data.py",
        epochs=10,
        batch=4,
        classes=10,
        image_scale=None,
    ),
    "bccd_long": SmallScale(BccdData(), "bccd_data.py", epochs=32, batch=4, classes=3, image_scale=(400, 300)),
    # The beginning of a training as a training of its own.
    "bccd_short": replace(_BCCD, epochs=12),
    "demo_short": replace(_DEMO, data=_DEMO_DATA, epochs=6),
    # Few images with one class of large objects: digits of 64 to 205 px.
    "one_class": SmallScale(
        EmbeddedData(DemoSize(train=160, val=100, side=256, digits="one_class")),
        "demo_boxes_data.py",
        epochs=40,
        batch=8,
        classes=1,
        image_scale=None,
        schedule="small_schedule_adamw.py",
    ),
    # The data and the schedule of demo_long with digits shorter than the finest stride.
    "demo_tiny": SmallScale(
        EmbeddedData(DemoSize(train=600, val=150, side=160, digits="tiny")),
        "demo_data.py",
        epochs=10,
        batch=4,
        classes=10,
        image_scale=None,
    ),
    # Digits of 190 to 310 px on one level of stride 8: the paper's bins end at 128 px.
    "demo_large": SmallScale(
        EmbeddedData(DemoSize(train=600, val=150, side=320, digits="large")),
        "demo_data.py",
        epochs=10,
        batch=4,
        classes=10,
        image_scale=None,
        detector="small_single_level.py",
        own_levels=True,
    ),
    "demo_noise": _NOISE,
    "demo_noise_long": replace(_NOISE, epochs=24),
    "coco": FullScale(CocoData()),
}


def require_teacher(variant: Variant, model: dict) -> None:
    """Check that the weights of a teacher exist, before runs are trained.

    Args:
        variant: variant of a study.
        model: its model.

    Raises:
        ValueError: if they do not; the message says how to train them.
    """
    weights = model.get("teacher_ckpt")
    if weights is None or "://" in weights or os.path.isfile(weights):
        return
    teacher, study = Path(model.teacher_config).stem, variant.path.parent.name
    raise ValueError(
        f"variant {variant.name} learns from a trained {teacher}, but there is no file {weights}; train it with "
        f"gfl-plugin ablate {study} --variants {teacher}, and set GFL_TEACHER to its checkpoint, "
        f"WORK_DIR/{teacher}/seed_0/epoch_N.pth"
    )


def train_for(cfg: Config, epochs: int) -> None:
    """Set the number of epochs of a small config; only warnings are logged, and the last weights are kept and tested.

    Args:
        cfg: config with the schedule of ``configs/_base_/small_schedule.py``; it is changed.
        epochs: number of training epochs.
    """
    cfg.train_cfg.update(max_epochs=epochs, val_interval=epochs + 1)  # no validation during training
    for scheduler in cfg.param_scheduler:
        if "T_max" in scheduler:
            scheduler.T_max = epochs
    cfg.default_hooks.checkpoint.update(interval=epochs, max_keep_ckpts=1)
    cfg.log_level = "WARNING"
