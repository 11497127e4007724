"""From decoded boxes to results: rescaling, size filter and NMS, for all images of a batch at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from mmcv.ops import batched_nms
from mmengine.config import ConfigDict
from torch import Tensor

from ..ops.host_values import on_host
from ..ops.nms import nms
from ..structures.detections import Detections


def postprocess(
    found: Detections, metas: Sequence[dict], cfg: ConfigDict, rescale: bool, with_nms: bool
) -> list[Detections]:
    """Results of a batch, with the numbers of MMDetection's post-processing.

    Args:
        found: decoded detections in pixels of the network's input.
        metas: ``scale_factor`` of each image, where ``rescale``.
        cfg: ``min_bbox_size``; with NMS also ``nms`` (any type that mmcv's ``batched_nms`` takes) and ``max_per_img``.
        rescale: whether boxes return to the original image's size.
        with_nms: whether overlapping detections are suppressed.

    Returns:
        Those of each image that are kept, with their further fields; with NMS the best first.
    """
    if rescale:
        found = found.scaled(inverse_scales(metas, found.boxes)[found.image])
    found = _without_small(found, cfg.get("min_bbox_size", -1))
    if not with_nms:
        return [found.rows(rows) for rows in found.per_image(len(metas))]
    if on_host(found.boxes) and is_greedy(cfg.get("nms")):
        return _greedy_nms(found, len(metas), cfg)
    return [_mmcv_nms(found.rows(rows), cfg) for rows in found.per_image(len(metas))]


def is_greedy(nms_config: dict | None) -> bool:
    """Whether an NMS config describes the plain greedy NMS.

    Args:
        nms_config: ``test_cfg.nms``.

    Returns:
        True for ``type="nms"`` with no further setting than ``iou_threshold``, ``class_agnostic``, ``split_thr``.
    """
    known = {"type", "iou_threshold", "class_agnostic", "split_thr"}
    return (
        nms_config is not None
        and nms_config.get("type", "nms") == "nms"
        and {"iou_threshold"} <= set(nms_config) <= known
    )


def inverse_scales(metas: Sequence[dict], like: Tensor) -> Tensor:
    """Pixels of the original images per pixel of the network's input.

    Args:
        metas: ``scale_factor`` (x, y) of each image.
        like: tensor with the dtype and the device of the result.

    Returns:
        (B, 4) along x, y, x, y.
    """
    # As in MMDetection, pixels are multiplied by fp32 inverses.
    return like.new_tensor([[1 / side for side in meta["scale_factor"][:2]] * 2 for meta in metas])


def _without_small(found: Detections, smallest: float) -> Detections:
    """The detections whose width and height are above a size; all of them where it is negative."""
    if smallest < 0:
        return found
    return found.rows(((found.boxes[:, 2:] - found.boxes[:, :2]) > smallest).all(dim=1))


def _greedy_nms(found: Detections, images: int, cfg: ConfigDict) -> list[Detections]:
    """Greedy NMS of all images and classes in one call; the same numbers as mmcv's ``batched_nms`` per image."""
    together = cfg.nms.get("class_agnostic", False) or not len(found)
    boxes = found.boxes if together else _apart_by_class(found, images)
    limit = cfg.max_per_img if cfg.max_per_img > 0 else None
    kept = nms(boxes, found.scores, cfg.nms["iou_threshold"], groups=found.image, limit=limit)
    counts = torch.bincount(found.image[kept], minlength=images).tolist()
    return [found.rows(own[: cfg.max_per_img]) for own in kept.split(counts)]


def _mmcv_nms(found: Detections, cfg: ConfigDict) -> Detections:
    """mmcv's NMS of one image: on a GPU, and of other types such as Soft-NMS, which also changes scores."""
    if not len(found):
        return found
    boxes_and_scores, kept = batched_nms(found.boxes, found.scores, found.labels, cfg.get("nms"))
    return replace(found.rows(kept), scores=boxes_and_scores[:, -1]).rows(slice(cfg.max_per_img))


def _apart_by_class(found: Detections, images: int) -> Tensor:
    """Boxes shifted by class as mmcv shifts them, because the rounding decides overlaps."""
    boxes = found.boxes
    largest = boxes.new_full((images,), -torch.inf).scatter_reduce_(0, found.image, boxes.amax(dim=1), "amax")
    return boxes + (found.labels.to(boxes) * (largest + 1)[found.image])[:, None]
