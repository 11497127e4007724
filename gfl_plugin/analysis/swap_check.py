"""Swaps the head of every dense detector in MMDetection's configs, builds it, trains it for one step and predicts."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
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
from ..runtime.errors import in_a_line
from .tables import Column, Table

STOCK = Path(mmdet.__file__).parent / ".mim" / "configs"
# Folders of base configs, and of detectors that are distilled from a trained one.
_LEFT_OUT = ("_base_", "common", "ld", "lad")
_SIDE, _SSD_SIDE = 128, 320  # pixels; the neck of SSD does not pad, so that smaller images would have empty maps


@dataclass(frozen=True)
class Check:
    """Result for one config."""

    name: str  # family/file.py
    head: str  # the old head
    failure: str | None  # error message; None if it was built, trained for one step and predicted
    base_failure: str | None  # error of building the config before the swap; None if it can be built
    seconds: float

    @property
    def verdict(self) -> str:
        """Result in a few words."""
        if self.failure is None:
            return "done"
        return "failed" if self.base_failure is None else "not buildable before the swap either"


def dense_configs() -> list[tuple[str, str]]:
    """List the MMDetection configs whose head can be swapped, without base configs and distillation.

    Returns:
        Name and type of the head of each config.
    """
    found = []
    for path in sorted(STOCK.rglob("*.py")):
        name = path.relative_to(STOCK)
        if set(name.parts[:-1]) & set(_LEFT_OUT):
            continue
        try:
            model = Config.fromfile(path, import_custom_modules=False).get("model")
        except (ImportError, OSError):  # its base is in mmpretrain, or in a folder that the wheel does not contain
            continue
        head = model.get("bbox_head") if model else None
        if isinstance(head, dict) and head.type in DENSE_HEADS:
            found.append((name.as_posix(), head.type))
    return found


def check_all(configs: list[tuple[str, str]], folder: Path, head: str = "gfl") -> Iterator[Check]:
    """Swap the head of each config by writing a new config, and test the new config.

    Args:
        configs: return value of :func:`dense_configs`, or a part of it.
        folder: folder for the new configs.
        head: "gfl", "gflv2" or "qfl", see :func:`gfl_plugin.swap_head`.

    Yields:
        One result per config.
    """
    MMLogger.get_current_instance().setLevel("WARNING")  # otherwise MMEngine logs the initialization of each parameter
    for name, old in configs:
        started, failure, base_failure = time.monotonic(), None, None
        try:
            new = swap_config_file(f"mmdet::{name}", folder / name, head)
            try_out(Config.fromfile(new), _SSD_SIDE if old in ("SSDHead", "PISASSDHead") else _SIDE)
        except Exception as error:  # any error is a result
            failure, base_failure = in_a_line(error), _why_unbuildable(name)
        yield Check(name, old, failure, base_failure, time.monotonic() - started)


def _why_unbuildable(name: str) -> str | None:
    """The error of building MMDetection's own config; None if it can be built."""
    try:
        cfg = Config.fromfile(STOCK / name)
        init_default_scope(cfg.get("default_scope", "mmdet"))
        MODELS.build(cfg.model)
    except Exception as error:
        return in_a_line(error)
    return None


def try_out(cfg: Config, side: int = _SIDE) -> None:
    """Build a detector, train it for one step on two small images, and predict.

    Args:
        cfg: config of a detector with a ``bbox_head``; settings for large images and downloads are removed from it.
        side: width and height of an image in pixels.

    Raises:
        ValueError: if the loss or a gradient is not finite, a parameter of the head has no gradient, or predictions are
            missing or not finite.
    """
    init_default_scope(cfg.get("default_scope", "mmdet"))
    torch.manual_seed(0)
    _without_downloads(cfg.model)
    cfg.model.data_preprocessor.pop("batch_augments", None)  # they would enlarge the images
    model = revert_sync_batchnorm(MODELS.build(cfg.model)).train()  # SyncBatchNorm needs a GPU
    model.init_weights()  # otherwise some parameters are uninitialized memory
    losses = model(**model.data_preprocessor(_batch(side, cfg), True), mode="loss")
    total, _ = model.parse_losses(losses)
    total.backward()
    _check_learning(model, total)
    torch.optim.SGD(model.parameters(), lr=1e-4).step()
    model.eval()
    with torch.no_grad():
        found = model(**model.data_preprocessor(_batch(side, cfg), False), mode="predict")
    if len(found) != 2 or not all(sample.pred_instances.scores.isfinite().all() for sample in found):
        raise ValueError(f"prediction returned {len(found)} images instead of 2, or non-finite scores")


def _check_learning(model: BaseModel, total: torch.Tensor) -> None:
    if not total.isfinite():
        raise ValueError(f"the loss is {total.item()}")
    for name, parameter in model.bbox_head.named_parameters():
        if parameter.grad is None or not parameter.grad.isfinite().all():
            raise ValueError(f"bbox_head.{name} has no gradient, or a non-finite one")


def _without_downloads(config: object) -> None:
    """Remove pretrained weights from a model's config."""
    for value in config.values() if isinstance(config, dict) else config if isinstance(config, (list, tuple)) else ():
        _without_downloads(value)
    if isinstance(config, dict):
        if "checkpoint" in (config.get("init_cfg") or {}):
            config["init_cfg"] = None
        config.pop("pretrained", None)


def _batch(side: int, cfg: Config) -> dict:
    """Two noise images with three objects each."""
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


def check_table(checks: Sequence[Check]) -> Table:
    """Create a table with one row per config.

    Args:
        checks: results of :func:`check_all`.

    Returns:
        The table.
    """
    columns = (Column("config", numeric=False), Column("head", numeric=False), Column("", numeric=False))
    rows = tuple(
        (check.name, check.head, f"{check.verdict}: {check.failure}" if check.failure else check.verdict)
        for check in checks
    )
    return Table(columns, rows)
