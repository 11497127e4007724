"""What GFL learns of a data set at a config's image sizes: images go through the config's own pipeline, blank."""

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
from ...coders import IntegralBBoxCoder
from ...heads import GFLHead
from ...structures.grid import Grid
from ...structures.ground_truths import GroundTruths
from ...structures.valid_regions import ValidRegions
from .annotations import MAX_PIXELS, Source, plain_name
from .findings import Finding, Report

_COVERED = 0.999  # share of the sides that a suggested reg_max reaches
# More than these shares are a mistake. Random scales and mosaics make some objects tiny in any data, few sides long.
_UNLEARNED_OBJECTS = 0.5
_CUT_OFF_SIDES = 0.05
_LOADERS = ("LoadImageFromFile", "LoadImageFromNDArray")


class DatasetError(RuntimeError):
    """MMDetection's data set class, or the training pipeline, fails on the data."""


@dataclass(frozen=True)
class Seen:
    """Objects as the head meets them."""

    objects: int  # with an area
    alone: tuple[str, ...]  # those that no location learns
    sides: tuple[Tensor, ...]  # of each level, distances of the positives' sides in strides


def gfl_head(cfg: Config) -> GFLHead | None:
    """The config's head, where it is a GFLHead whose assigner needs no predictions; else None."""
    settings = copy.deepcopy(cfg.model.get("bbox_head") or {})
    if not isinstance(settings, dict) or plain_name(settings.get("type")) != "GFLHead":
        return None
    train_cfg = copy.deepcopy(cfg.model.train_cfg)
    # MMDetection's own classes learn the same of the same objects.
    settings.type = "gfl_plugin.GFLHead"
    if plain_name(train_cfg.get("assigner", {}).get("type")) == "ATSSAssigner":
        train_cfg.assigner.type = "gfl_plugin.ATSSAssigner"
    head = MODELS.build(ConfigDict(**settings, train_cfg=train_cfg, test_cfg=cfg.model.get("test_cfg")))
    return head if isinstance(head.assigner, (ATSSAssigner, FCOSAssigner)) else None


def look(cfg: Config, source: Source, head: GFLHead, limit: int, report: Report) -> Seen:
    """Send images through the training pipeline, and ask the assigner about their objects.

    Args:
        cfg: of which ``data_preprocessor.pad_size_divisor`` counts.
        source: its data set's pipeline begins with an image's loading.
        head: from :func:`gfl_head`.
        limit: images looked at, evenly over the data set.
        report: called with images done, and images in all.

    Raises:
        DatasetError: where MMDetection cannot load the data set or one of its images.
    """
    with _data_errors("the data set cannot be built"):
        built = DATASETS.build(_blank_images(source))
        total = len(built)  # reads the annotations where lazy_init put it off
    preprocessor = cfg.model.get("data_preprocessor") or cfg.get("data_preprocessor") or {}
    divisor = preprocessor.get("pad_size_divisor", 1)
    numbers = np.linspace(0, total - 1, min(limit, total)).round().astype(int).tolist() if total else []
    objects, alone = 0, []
    sides: list[list[Tensor]] = [[] for _ in head.layout.strides]
    for done, number in enumerate(numbers, 1):
        with _data_errors(f"image {number} fails in the training pipeline"):
            item = built[number]
            if "data_samples" not in item:
                raise ValueError(
                    f"it returns {', '.join(item)} and no data_samples; its last step must be PackDetInputs"
                )
        sample = item["data_samples"]
        height, width = item["inputs"].shape[-2:]
        padded = tuple(math.ceil(side / divisor) * divisor for side in (height, width))
        truths = GroundTruths.of([sample.gt_instances], torch.device("cpu"))
        objects += int((~truths.empty).sum())
        learnt = _learnt(head, truths, dict(img_shape=(height, width), pad_shape=padded), padded, sides)
        for row in (~(learnt | truths.empty)).nonzero().squeeze(1).tolist():
            x1, y1, x2, y2 = truths.boxes[row].tolist()
            name = built.metainfo["classes"][int(truths.labels[row])]
            alone.append(f"{sample.get('img_path')}: {name} of {x2 - x1:.1f}×{y2 - y1:.1f} px in the network's input")
        report(done, len(numbers))
    return Seen(objects, tuple(alone), tuple(torch.cat(level) if level else torch.zeros(0) for level in sides))


@contextlib.contextmanager
def _data_errors(what: str) -> Iterator[None]:
    """Whatever is raised inside becomes a DatasetError."""
    try:
        yield
    except Exception as error:  # MMDetection checks no annotation: its errors are of any kind
        raise DatasetError(f"{what}: {type(error).__name__}: {' '.join(str(error).split())}") from error


def _blank_images(source: Source) -> dict:
    """The data set's config with images that are not read, inside of the wrapper that mixes them."""
    settings = copy.deepcopy(source.dataset)
    rest = [step for step in settings.pop("pipeline") if plain_name(step["type"]) not in _LOADERS]
    blank = {**settings, "pipeline": [_blank, *rest]}
    return blank if source.mixer is None else {**copy.deepcopy(source.mixer), "dataset": blank}


def _blank(results: dict) -> dict:
    """In place of an image's loading: a black one of its annotated size."""
    shape = (results["height"], results["width"])
    if math.prod(shape) > MAX_PIXELS:  # the memory would be allocated, and later transforms would write to it
        raise ValueError(f"{results.get('img_path')} has {shape[1]}×{shape[0]} pixels in its annotation")
    results.update(img=np.zeros((*shape, 3), np.uint8), img_shape=shape, ori_shape=shape)
    return results


def _learnt(
    head: GFLHead, truths: GroundTruths, meta: dict, padded: tuple[int, ...], sides: list[list[Tensor]]
) -> Tensor:
    """(G,) bool, whether any location learns each object; the sides learned are added to those of their levels."""
    sizes = [tuple(math.ceil(side / stride) for side in padded) for stride in head.layout.strides]
    grid = Grid.of(head.layout, sizes, "cpu")
    regions = ValidRegions.of(grid, [meta], head.train_cfg["allowed_border"])
    positives = head.assigner.assign_batch(truths, None, grid, regions, None).positives
    learnt = torch.zeros(len(truths), dtype=torch.bool)
    learnt[positives.gt_index[positives.active]] = True
    stride = grid.stride[positives.level][:, None]
    center = grid.center(positives.level, positives.location) / stride
    distance = head.bbox_coder.encode(center, truths.boxes[positives.gt_index] / stride)
    for level, (rows, active) in enumerate(zip(positives.per_level(distance), positives.per_level(positives.active))):
        sides[level].append(rows[active].flatten())
    return learnt


def findings_of(seen: Seen, head: GFLHead) -> list[Finding]:
    """Objects that nobody learns, and distributions too short for the sides they should hold.

    More than half of the objects or more than 5 % of the sides are a mistake; fewer are worth a look.
    """
    found = [
        Finding.of_names(
            "objects that no location learns",
            len(seen.alone) > _UNLEARNED_OBJECTS * seen.objects,
            seen.alone,
            seen.objects,
            "tiny objects: enlarge images (Resize), add a level of a smaller stride, or lower the threshold by a hook "
            "of gfl_plugin.ATSSAssigner",
        )
    ]
    coder = head.bbox_coder
    if isinstance(coder, IntegralBBoxCoder):
        last = coder.first + coder.step * coder.reg_max
        every = torch.cat(seen.sides)
        beyond = [(level > last).float() for level in seen.sides]
        shares = [
            f"stride {stride:g}: {int(part.sum())} of {len(part)} ({float(part.mean()):.2%})"
            for stride, part in zip(head.layout.strides, beyond)
            if part.any()
        ]
        if shares:
            needed = float(np.quantile(every.numpy(), _COVERED))
            wanted = max(1, math.ceil((needed - coder.first) / coder.step))
            advice = f"they are learned as {last:g} strides; reg_max={wanted} reaches {_COVERED:.1%} of all sides"
            clipped = int((every > last).sum())
            serious = clipped > _CUT_OFF_SIDES * len(every)
            found.append(Finding("sides beyond the last bin", serious, clipped, len(every), tuple(shares), advice))
    return [one for one in found if one.count]
