"""The training targets of a GFL head, computed with blank images in the config's own pipeline."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config, ConfigDict
from torch import Tensor

from ...assigners import ATSSAssigner, FCOSAssigner
from ...heads import GFLHead
from ...structures.grid import Grid
from ...structures.ground_truths import GroundTruths
from ...structures.valid_regions import ValidRegions
from .annotations import MAX_PIXELS
from .findings import Report
from .sources import Source, plain_name

_LOADERS = ("LoadImageFromFile", "LoadImageFromNDArray")


class DatasetError(RuntimeError):
    """MMDetection's dataset or the training pipeline fails on the data."""


@dataclass(frozen=True)
class TrainingView:
    """Objects and targets as a GFL head gets them in training."""

    objects: int  # number of objects with an area
    unassigned: tuple[str, ...]  # descriptions of the objects without a location
    sides: tuple[Tensor, ...]  # per level, (4·P,) distances from positive locations to the sides, in strides


def gfl_head(cfg: Config) -> GFLHead | None:
    """Build the head of a config.

    Args:
        cfg: the config.

    Returns:
        The head; None if it is not a GFLHead, or its assigner needs predictions.
    """
    settings = copy.deepcopy(cfg.model.get("bbox_head") or {})
    if not isinstance(settings, dict) or plain_name(settings.get("type")) != "GFLHead":
        return None
    train_cfg = copy.deepcopy(cfg.model.train_cfg)
    # MMDetection's own classes assign the same objects to the same locations.
    settings.type = "gfl_plugin.GFLHead"
    if plain_name(train_cfg.get("assigner", {}).get("type")) == "ATSSAssigner":
        train_cfg.assigner.type = "gfl_plugin.ATSSAssigner"
    head = MODELS.build(ConfigDict(**settings, train_cfg=train_cfg, test_cfg=cfg.model.get("test_cfg")))
    return head if isinstance(head.assigner, (ATSSAssigner, FCOSAssigner)) else None


def view_training_set(cfg: Config, source: Source, head: GFLHead, limit: int, report: Report) -> TrainingView:
    """Run images through the training pipeline, and their objects through the assigner.

    Args:
        cfg: the config; only ``data_preprocessor.pad_size_divisor`` is used.
        source: the training set; its pipeline starts with loading an image.
        head: return value of :func:`gfl_head`.
        limit: number of images, evenly spaced over the dataset.
        report: function that is called with the number of images done and the total number.

    Returns:
        The view.

    Raises:
        DatasetError: if MMDetection cannot load the dataset or one of its images.
    """
    with _data_errors("the dataset cannot be built"):
        built = DATASETS.build(_blank_images(source))
        total = len(built)  # with lazy_init, this reads the annotations
    preprocessor = cfg.model.get("data_preprocessor") or cfg.get("data_preprocessor") or {}
    divisor = preprocessor.get("pad_size_divisor", 1)
    numbers = np.linspace(0, total - 1, min(limit, total)).round().astype(int).tolist() if total else []
    objects, unassigned = 0, []
    sides: list[list[Tensor]] = [[] for _ in head.layout.strides]
    for done, number in enumerate(numbers, 1):
        with _data_errors(f"image {number} fails in the training pipeline"):
            item = built[number]
            if "data_samples" not in item:
                raise ValueError(
                    f"it returns {', '.join(item)} without data_samples; its last step must be PackDetInputs"
                )
        sample = item["data_samples"]
        height, width = item["inputs"].shape[-2:]
        padded = tuple(math.ceil(side / divisor) * divisor for side in (height, width))
        truths = GroundTruths.of([sample.gt_instances], torch.device("cpu"))
        objects += int((~truths.empty).sum())
        assigned = _assigned(head, truths, dict(img_shape=(height, width), pad_shape=padded), padded, sides)
        for row in (~(assigned | truths.empty)).nonzero().squeeze(1).tolist():
            x1, y1, x2, y2 = truths.boxes[row].tolist()
            name = built.metainfo["classes"][int(truths.labels[row])]
            unassigned.append(
                f"{sample.get('img_path')}: {name} of {x2 - x1:.1f}×{y2 - y1:.1f} px in the network's input"
            )
        report(done, len(numbers))
    distances = tuple(torch.cat(level) if level else torch.zeros(0) for level in sides)
    return TrainingView(objects, tuple(unassigned), distances)


@contextlib.contextmanager
def _data_errors(what: str) -> Iterator[None]:
    """Convert all exceptions to DatasetError."""
    try:
        yield
    except Exception as error:  # MMDetection does not check annotations and can raise any exception
        raise DatasetError(f"{what}: {type(error).__name__}: {' '.join(str(error).split())}") from error


def _blank_images(source: Source) -> dict:
    """The config of the dataset with blank images instead of image files, inside the wrapper that mixes them."""
    settings = copy.deepcopy(source.dataset)
    rest = [step for step in settings.pop("pipeline") if plain_name(step["type"]) not in _LOADERS]
    blank = {**settings, "pipeline": [_blank, *rest]}
    return blank if source.mixer is None else {**copy.deepcopy(source.mixer), "dataset": blank}


def _blank(results: dict) -> dict:
    """Replace loading an image by a black image of the annotated size."""
    shape = (results["height"], results["width"])
    if math.prod(shape) > MAX_PIXELS:  # memory is allocated when a transform writes to the image
        raise ValueError(
            f"{results.get('img_path')} has {shape[1]}×{shape[0]} pixels in its annotation; at most {MAX_PIXELS} are "
            "supported"
        )
    results.update(img=np.zeros((*shape, 3), np.uint8), img_shape=shape, ori_shape=shape)
    return results


def _assigned(
    head: GFLHead, truths: GroundTruths, meta: dict, padded: tuple[int, ...], sides: list[list[Tensor]]
) -> Tensor:
    """(G,) bool, whether each object has a location; appends the distances to its sides to their level in ``sides``."""
    sizes = [tuple(math.ceil(side / stride) for side in padded) for stride in head.layout.strides]
    grid = Grid.of(head.layout, sizes, "cpu")
    regions = ValidRegions.of(grid, [meta], head.train_cfg["allowed_border"])
    positives = head.assigner.assign_batch(truths, None, grid, regions, None).positives
    has_location = torch.zeros(len(truths), dtype=torch.bool)
    has_location[positives.gt_index[positives.active]] = True
    stride = grid.stride[positives.level][:, None]
    center = grid.center(positives.level, positives.location) / stride
    distance = head.bbox_coder.encode(center, truths.boxes[positives.gt_index] / stride)
    for level, (rows, active) in enumerate(zip(positives.per_level(distance), positives.per_level(positives.active))):
        sides[level].append(rows[active].flatten())
    return has_location
