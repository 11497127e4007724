"""Every dense detector that MMDetection ships a config of, its head swapped, built, trained for a step and run once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mmdet
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import BaseModel, revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

from ..projects.swap_head import DENSE_HEADS, swap_config_file

STOCK = Path(mmdet.__file__).parent / ".mim" / "configs"
# Recipes that other folders' configs are made of; and detectors that learn from a second, trained one.
_LEFT_OUT = ("_base_", "common", "ld", "lad")
_SIDE, _SSD_SIDE = 128, 320  # pixels; SSD's neck shrinks its maps without padding, so small ones would vanish


@dataclass(frozen=True)
class Check:
    """What became of one config."""

    name: str  # family/file.py
    head: str  # the old head
    failure: str | None  # None where it built, trained a step and predicted
    base_failure: str | None  # where it failed: why the config cannot be built before its head is swapped, if so
    seconds: float


def dense_configs() -> list[tuple[str, str]]:
    """Name and head of every MMDetection config whose head can be exchanged, recipes and distillation left out."""
    found = []
    for path in sorted(STOCK.rglob("*.py")):
        name = path.relative_to(STOCK)
        if set(name.parts[:-1]) & set(_LEFT_OUT):
            continue
        try:
            model = Config.fromfile(path, import_custom_modules=False).get("model")
        except (ImportError, OSError):  # a base outside the package: mmpretrain's, or a folder the wheel lacks
            continue
        head = model.get("bbox_head") if model else None
        if isinstance(head, dict) and head.type in DENSE_HEADS:
            found.append((name.as_posix(), head.type))
    return found


def check_all(configs: list[tuple[str, str]], folder: Path, head: str = "gfl") -> Iterator[Check]:
    """Swap each config's head through a file, as the tool does, and try the result.

    Args:
        configs: from :func:`dense_configs`.
        folder: where the new configs are written.
        head: see :func:`gfl_plugin.swap_head`.
    """
    MMLogger.get_current_instance().setLevel("WARNING")  # or every parameter's initialization is a line
    for name, old in configs:
        started, failure, base_failure = time.monotonic(), None, None
        try:
            new = swap_config_file(f"mmdet::{name}", folder / name, head)
            try_out(Config.fromfile(new), _SSD_SIDE if old in ("SSDHead", "PISASSDHead") else _SIDE)
        except Exception as error:  # whatever a config can do wrong is what is asked here
            failure, base_failure = _in_a_line(error), _why_unbuildable(name)
        yield Check(name, old, failure, base_failure, time.monotonic() - started)


def _in_a_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _why_unbuildable(name: str) -> str | None:
    """What MMDetection says when it builds its own config, or None where it builds."""
    try:
        cfg = Config.fromfile(STOCK / name)
        init_default_scope(cfg.get("default_scope", "mmdet"))
        MODELS.build(cfg.model)
    except Exception as error:
        return _in_a_line(error)
    return None


def try_out(cfg: Config, side: int = _SIDE) -> None:
    """Build a config's detector, train it for a step on two small images, and predict.

    Args:
        cfg: of a detector with a ``bbox_head``; its settings for large images and downloads are taken out.
        side: pixels of an image, width and height.

    Raises:
        ValueError: for a loss or a gradient that is not finite, a head that learns nothing, or no prediction.
    """
    init_default_scope(cfg.get("default_scope", "mmdet"))
    torch.manual_seed(0)
    _without_downloads(cfg.model)
    cfg.model.data_preprocessor.pop("batch_augments", None)  # which would make images large again
    model = revert_sync_batchnorm(MODELS.build(cfg.model)).train()  # synchronized ones need a GPU
    model.init_weights()  # some parameters hold whatever was in memory before
    losses = model(**model.data_preprocessor(_batch(side, cfg), True), mode="loss")
    total, _ = model.parse_losses(losses)
    total.backward()
    _check_learning(model, total)
    torch.optim.SGD(model.parameters(), lr=1e-4).step()
    model.eval()
    with torch.no_grad():
        found = model(**model.data_preprocessor(_batch(side, cfg), False), mode="predict")
    if len(found) != 2 or not all(sample.pred_instances.scores.isfinite().all() for sample in found):
        raise ValueError(f"prediction gave {len(found)} images, or scores that are not finite")


def _check_learning(model: BaseModel, total: torch.Tensor) -> None:
    if not total.isfinite():
        raise ValueError(f"the loss is {total.item()}")
    for name, parameter in model.bbox_head.named_parameters():
        if parameter.grad is None or not parameter.grad.isfinite().all():
            raise ValueError(f"bbox_head.{name} got no gradient, or one that is not finite")


def _without_downloads(config: object) -> None:
    """Take pretrained weights out of a model's config."""
    for value in config.values() if isinstance(config, dict) else config if isinstance(config, (list, tuple)) else ():
        _without_downloads(value)
    if isinstance(config, dict):
        if "checkpoint" in (config.get("init_cfg") or {}):
            config["init_cfg"] = None
        config.pop("pretrained", None)


def _batch(side: int, cfg: Config) -> dict:
    """Two images of noise with three objects each."""
    samples = []
    for _ in range(2):
        sample = DetDataSample(
            metainfo=dict(img_shape=(side, side), ori_shape=(side, side), scale_factor=(1.0, 1.0), img_id=0)
        )
        boxes = torch.tensor([[0.1, 0.1, 0.5, 0.6], [0.4, 0.3, 0.95, 0.9], [0.6, 0.1, 0.8, 0.3]]) * side
        labels = torch.arange(3) % cfg.model.bbox_head.num_classes
        sample.gt_instances = InstanceData(bboxes=boxes, labels=labels)
        samples.append(sample)
    return dict(
        inputs=[torch.randint(0, 256, (3, side, side), dtype=torch.uint8) for _ in samples], data_samples=samples
    )
