"""At what size a study is run: on COCO as its configs say, or their heads on a small detector and small data."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from ...demo.dataset import DemoSize, make_dataset
from .study import Variant

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class SmallScale:
    """The small detector of ``configs/_base_`` on small data."""

    data: str  # file in configs/_base_
    variable: str  # environment variable of that file
    epochs: int
    batch: int  # images a step
    classes: int
    image_scale: tuple[int, int] | None  # (width, height) that images are resized to; None for their own


# Sizes at which a run takes about a minute of one core.
SMALL_SCALES = {
    "demo": SmallScale("demo_data.py", "GFL_DEMO_DATA", epochs=8, batch=8, classes=10, image_scale=None),
    "bccd": SmallScale("bccd_data.py", "GFL_DATA", epochs=10, batch=4, classes=3, image_scale=(200, 150)),
}
SCALES = (*SMALL_SCALES, "coco")
DEMO_SIZE = DemoSize(train=600, val=300, side=128)
_PRECISION = ("type", "dtype", "loss_scale")  # of optim_wrapper


def find_data(scale: str, root: Path, report: Report) -> str:
    """The folder of a scale's data; the demo's is made there, in seconds.

    Args:
        scale: one of ``SCALES``.
        root: where made data goes.
        report: called with images made, and images in all.

    Raises:
        FileNotFoundError: where data is missing, saying what to set.
    """
    if scale == "demo":
        return str(make_dataset(root / "data", DEMO_SIZE, seed=0, progress=report).resolve())
    if scale == "bccd":
        folder = os.environ.get("GFL_DATA", "data")
        if not (Path(folder) / "bccd" / "ImageSets").is_dir():
            raise FileNotFoundError(
                f"there is no BCCD in {Path(folder) / 'bccd'}; set GFL_DATA to the folder that holds bccd/ "
                "(JPEGImages, Annotations and ImageSets of github.com/Shenggan/BCCD_Dataset)"
            )
        return str(Path(folder).resolve())
    if not Path("data/coco/annotations").is_dir():
        raise FileNotFoundError("there is no COCO in data/coco; MMDetection's configs look for it there: link it")
    return str(Path("data").resolve())


def config_of(variant: Variant, scale: str, configs: Path, data: str) -> Config:
    """What is trained for a variant.

    Args:
        variant: of a study.
        scale: one of ``SCALES``.
        configs: the folder ``configs``.
        data: from :func:`find_data`.
    """
    full = Config.fromfile(variant.path)
    full.pop("ablation")
    if scale == "coco":
        return full
    small = SMALL_SCALES[scale]
    os.environ[small.variable] = data  # the config's own variable
    cfg = Config.fromfile(configs / "_base_" / "small_schedule.py")
    cfg.merge_from_dict(Config.fromfile(configs / "_base_" / small.data).to_dict())
    cfg.model = _small_model(full.model, Config.fromfile(configs / "_base_" / "small_detector.py").model, small)
    cfg.model.bbox_head.merge(variant.small_head)
    cfg.optim_wrapper.update({name: full.optim_wrapper[name] for name in _PRECISION if name in full.optim_wrapper})
    cfg.train_cfg.update(max_epochs=small.epochs, val_interval=small.epochs + 1)  # tested once, after training
    cfg.param_scheduler[1].T_max = small.epochs
    # Each run is tested by its last weights; others serve nobody.
    cfg.default_hooks.checkpoint.update(interval=small.epochs, max_keep_ckpts=1, save_optimizer=False)
    cfg.train_dataloader.batch_size = small.batch
    cfg.log_level = "WARNING"
    if small.image_scale is not None:
        for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
            for step in loader.dataset.pipeline:
                if step["type"] == "Resize":
                    step["scale"] = small.image_scale
    return cfg


def _small_model(full: dict, small: dict, scale: SmallScale) -> dict:
    """The small backbone and neck under a head as it is, but for its width, depth and classes."""
    model = small.copy()
    model.type = full.type
    head = full.bbox_head.copy()
    levels = len(head.in_channels) if isinstance(head.in_channels, (list, tuple)) else None
    width = small.bbox_head.in_channels
    head.in_channels = width if levels is None else [width] * levels
    head.num_classes = scale.classes
    for key in ("feat_channels", "stacked_convs"):
        if key in head:
            head[key] = small.bbox_head[key]
    model.bbox_head = head
    model.train_cfg, model.test_cfg = full.get("train_cfg"), full.test_cfg
    if levels is not None:
        model.neck.num_outs = levels
    return model
