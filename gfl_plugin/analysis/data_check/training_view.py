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
from ...grid import Grid, Regions
from ...heads import GFLHead
from ...targets import GroundTruths
from .annotations import MAX_PIXELS
from .findings import Finding, Report

_COVERED = 0.999  # share of the sides that a suggested reg_max reaches


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
    if str(settings.get("type", "")).split(".")[-1] != "GFLHead":
        return None
    settings.type = "gfl_plugin.GFLHead"  # MMDetection's own learns the same of the same objects
    head = MODELS.build(ConfigDict(**settings, train_cfg=cfg.model.train_cfg, test_cfg=cfg.model.get("test_cfg")))
    return head if isinstance(head.assigner, (ATSSAssigner, FCOSAssigner)) else None


def look(cfg: Config, dataset: ConfigDict, head: GFLHead, limit: int, report: Report) -> Seen:
    """Send images through the training pipeline, and ask the assigner about their objects.

    Args:
        cfg: of which ``data_preprocessor.pad_size_divisor`` counts.
        dataset: a data set without wrappers; its pipeline begins with an image's loading.
        head: from :func:`gfl_head`.
        limit: images looked at, evenly over the data set.
        report: called with images done, and images in all.

    Raises:
        DatasetError: where MMDetection cannot load the data set or one of its images.
    """
    settings = copy.deepcopy(dataset)
    pipeline = settings.pop("pipeline")
    rest = [step for step in pipeline if "LoadImageFromFile" not in str(step["type"])]
    with _data_errors("the data set cannot be built"):
        built = DATASETS.build({**settings, "pipeline": [_blank, *rest]})
        total = len(built)  # reads the annotations where lazy_init put it off
    preprocessor = cfg.model.get("data_preprocessor") or cfg.get("data_preprocessor") or {}
    divisor = preprocessor.get("pad_size_divisor", 1)
    numbers = np.linspace(0, total - 1, min(limit, total)).round().astype(int).tolist() if total else []
    objects, alone = 0, []
    sides: list[list[Tensor]] = [[] for _ in head.layout.strides]
    for done, number in enumerate(numbers, 1):
        with _data_errors(f"image {number} fails in the training pipeline"):
            item = built[number]
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
    regions = Regions.of(grid, [meta], head.train_cfg["allowed_border"])
    positives = head.assigner.assigned(truths, None, grid, regions).positives
    learnt = torch.zeros(len(truths), dtype=torch.bool)
    learnt[positives.object[positives.active]] = True
    stride = grid.stride[positives.level][:, None]
    centre = grid.centre(positives.level, positives.location) / stride
    distance = head.bbox_coder.encode(centre, truths.boxes[positives.object] / stride)
    for level, (rows, active) in enumerate(zip(positives.per_level(distance), positives.per_level(positives.active))):
        sides[level].append(rows[active].flatten())
    return learnt


def findings_of(seen: Seen, head: GFLHead) -> list[Finding]:
    """Objects that nobody learns, and distributions too short for the sides they should hold."""
    found = [
        Finding.of_names(
            "objects that no location learns",
            False,
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
            found.append(Finding("sides beyond the last bin", False, clipped, len(every), tuple(shares), advice))
    return [one for one in found if one.count]
