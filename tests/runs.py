"""Training runs in the process of the test: MMEngine's Runner, a small detector, and a few batches in memory."""

from __future__ import annotations

import itertools
from pathlib import Path

import gfl_plugin  # noqa: F401  # isort: skip  (must precede mmdet without compiled ops)
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from torch.utils.data import DataLoader

ROOT = Path(__file__).resolve().parents[1]
SIDE, IMAGES = 96, 2  # pixels, and images per batch; below 96, oneDNN reads unwritten memory in bf16 (docs/machines.md)
_NUMBER = itertools.count()


def a_sample(seed: int, objects: int = 3, side: int = SIDE) -> dict:
    """One image with its boxes, as a dataset returns it."""
    random = torch.Generator().manual_seed(seed)
    corner = torch.rand(objects, 2, generator=random) * 0.5 * side
    boxes = torch.cat([corner, corner + 4 + torch.rand(objects, 2, generator=random) * 0.45 * side], dim=1)
    meta = dict(img_shape=(side, side), ori_shape=(side, side), scale_factor=(1.0, 1.0), img_id=seed)
    sample = DetDataSample(metainfo={**meta, "img_path": f"{seed}.jpg"})
    labels = torch.randint(0, 10, (objects,), generator=random)
    sample.gt_instances = InstanceData(bboxes=boxes, labels=labels)
    return dict(inputs=torch.rand(3, side, side, generator=random) * 255, data_samples=sample)


def samples(batches: int = 4) -> list[dict]:
    return [a_sample(seed) for seed in range(batches * IMAGES)]


def poisoned(items: list[dict], batch: int) -> list[dict]:
    """The samples, with one NaN in an image of a batch (counted from 0)."""
    items = [dict(item) for item in items]
    image = items[batch * IMAGES]["inputs"].clone()
    image[1, 5, 7] = float("nan")
    items[batch * IMAGES]["inputs"] = image
    return items


def model_config() -> dict:
    """The demo's detector, without a data set."""
    model = Config.fromfile(ROOT / "configs" / "_base_" / "small_gfl.py").model.to_dict()
    model["bbox_head"]["num_classes"] = 10
    return model


def confident_detector(config: Path) -> torch.nn.Module:
    """An untrained detector with detections in every image, because all scores are above the threshold."""
    torch.manual_seed(0)
    init_default_scope("mmdet")
    model = MODELS.build(Config.fromfile(config).model)
    model.init_weights()
    torch.nn.init.constant_(model.bbox_head.gfl_cls.bias, 1.0)
    return model


def runner(
    work_dir: Path, items: list[dict], hooks: list, epochs: int = 1, kind: type | None = None, **settings: object
) -> Runner:
    """A runner over samples in the given order; SGD with momentum, a checkpoint per epoch."""
    model = model_config()
    config = dict(
        model=model,
        work_dir=str(work_dir),
        train_dataloader=DataLoader(items, batch_size=IMAGES, collate_fn=pseudo_collate),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.01, momentum=0.9)),
        custom_hooks=hooks,
        default_scope="mmdet",
        randomness=dict(seed=0),
        experiment_name=f"run_{next(_NUMBER)}",
        log_level="WARNING",
        cfg=Config(dict(model=model, default_scope="mmdet")),
    )
    return (kind or Runner)(**{**config, **settings})


def weights(run: Runner) -> dict[str, torch.Tensor]:
    """Copies of the model's weights and buffers."""
    return {name: value.clone() for name, value in run.model.state_dict().items()}
