"""From logits to detections, all images of a batch at once; only what survives the score threshold is ever decoded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from ..ops.nms import nms

_BLOCK = 128  # logits of which first only the largest is looked at


@dataclass(frozen=True)
class Survivors:
    """Scores worth decoding, image after image, in it level after level, in it by descending score."""

    image: Tensor  # (N,) int64
    level: Tensor  # (N,) int64
    label: Tensor  # (N,) class, int64
    location: Tensor  # (N,) row-major index in the level's grid, int64
    score: Tensor  # (N,) fp32

    def __len__(self) -> int:
        return len(self.score)

    def rows(self, index: Tensor) -> Survivors:
        """Those at an index, or where a mask holds."""
        return Survivors(*(getattr(self, name)[index] for name in self.__dataclass_fields__))

    def gather(self, maps: Sequence[Tensor]) -> Tensor:
        """The channels at each survivor's location: L maps (B, D, H, W) -> (N, D) fp32."""
        found = torch.empty(self.score.shape[0], maps[0].shape[1], device=maps[0].device)
        for number, level_map in enumerate(maps):
            rows = (self.level == number).nonzero().squeeze(1)
            found[rows] = level_map.flatten(2)[self.image[rows], :, self.location[rows]].float()
        return found


def survivors(logits: Sequence[Tensor], threshold: float, limit: int) -> Survivors:
    """The ``limit`` best scores above a threshold, of each level of each image.

    Threshold and choice are made on logits, of which the sigmoid is a monotonic function. Of equal scores the one of
    lower class, then lower location, comes first.

    Args:
        logits: L maps (B, C, H, W).
        threshold: scores must be above it.
        limit: how many of each level of each image; <= 0 for all.
    """
    parts = []
    for number, level in enumerate(logits):
        _, classes, height, width = level.shape
        flat = level.reshape(-1)
        index, logit = _candidates(flat, threshold)
        score = logit.sigmoid()
        exactly = score > threshold
        index, score = index[exactly], score[exactly]
        plane, location = _divmod(index, height * width)
        image, label = _divmod(plane, classes)
        parts.append(Survivors(image, torch.full_like(image, number), label, location, score))
    found = Survivors(*(torch.cat([getattr(part, name) for part in parts]) for name in Survivors.__dataclass_fields__))
    groups = found.image * len(logits) + found.level
    order = by_group(found.score.sort(descending=True, stable=True).indices, groups)
    found = found.rows(order)
    number = logits[0].shape[0] * len(logits)
    return found.rows(_rank(groups[order], number) < limit) if limit > 0 else found


def detections(
    boxes: Tensor, found: Survivors, metas: Sequence[dict], cfg: ConfigDict, rescale: bool
) -> list[InstanceData]:
    """Suppress what overlaps, all images and classes in one call; the numbers are those of mmcv's ``batched_nms``.

    Args:
        boxes: (N, 4) of each survivor, pixels of the network's input.
        found: the survivors.
        metas: ``scale_factor`` of each image, where ``rescale``.
        cfg: ``nms`` (one of those of :func:`is_plain`), ``max_per_img``, ``min_bbox_size``.
        rescale: whether boxes return to the original image's size.

    Returns:
        ``bboxes``, ``scores`` and ``labels`` of each image, the best first.
    """
    if rescale:
        # As in MMDetection, boxes are multiplied by fp32 inverses.
        inverse = boxes.new_tensor([[1 / side for side in meta["scale_factor"][:2]] for meta in metas])
        boxes = boxes * inverse[found.image].repeat(1, 2)
    smallest = cfg.get("min_bbox_size", -1)
    if smallest >= 0:
        large = ((boxes[:, 2:] - boxes[:, :2]) > smallest).all(dim=1)
        boxes, found = boxes[large], found.rows(large)
    if cfg.nms.get("class_agnostic", False) or not len(found):
        apart, groups = boxes, found.image
    else:
        apart, groups = _by_class(boxes, found, len(metas))
    kept = nms(apart, found.score, cfg.nms["iou_threshold"], groups=groups)
    kept = by_group(kept, found.image)
    counts = torch.bincount(found.image[kept], minlength=len(metas)).tolist()
    results = []
    for own in kept.split(counts):
        best = own[: cfg.max_per_img]
        results.append(InstanceData(bboxes=boxes[best], scores=found.score[best], labels=found.label[best]))
    return results


def is_plain(nms_config: dict | None) -> bool:
    """Whether NMS is the greedy one with no setting but those that :func:`detections` knows."""
    known = {"type", "iou_threshold", "class_agnostic", "split_thr"}
    return (
        nms_config is not None
        and nms_config.get("type", "nms") == "nms"
        and {"iou_threshold"} <= set(nms_config) <= known
    )


def by_group(order: Tensor, groups: Tensor) -> Tensor:
    """An order of rows, changed to go group after group and to stay as it is in each."""
    return order[groups[order].sort(stable=True).indices]


def _by_class(boxes: Tensor, found: Survivors, images: int) -> tuple[Tensor, Tensor]:
    """Boxes moved apart by their class as mmcv moves them, whose rounding decides the overlaps; and their groups."""
    largest = boxes.new_full((images,), -torch.inf).scatter_reduce_(0, found.image, boxes.amax(dim=1), "amax")
    apart = boxes + (found.label.to(boxes) * (largest + 1)[found.image])[:, None]
    if boxes.min() < 0:  # then boxes of different classes may still overlap, as they do in mmcv
        return apart, found.image
    return apart, found.image * (int(found.label.max()) + 1) + found.label


def _candidates(values: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """At least the logits whose sigmoid is above the threshold, the same ones in every dtype.

    Args:
        values: (N,) logits of any float dtype.
        threshold: of fp32 scores.

    Returns:
        (M,) indices, ascending, int64; and (M,) their logits, fp32.
    """
    if not 0 < threshold < 1:
        return torch.arange(len(values), device=values.device), values.float()
    bound = _lower_bound(threshold)
    if values.dtype == torch.float32:
        index = _above(values, bound)
        return index, values[index]
    index = _above(values, _below(bound, values.dtype))
    logit = values[index].float()
    # A CPU's sigmoid differs in the last bit between vectors and what is left over at their end. Scores are equal in
    # every dtype only where the same logits stand in the same places.
    near = logit > bound
    return index[near], logit[near]


def _lower_bound(threshold: float) -> float:
    """A number below every logit whose fp32 sigmoid is above a threshold in (0, 1)."""
    # Scores are compared with the threshold rounded to fp32, and the sigmoid is off by a few units in the last place
    # of fp32: 6e-8 of its value, or 1e-45 where that is more. Near 1 this is a wide range of logits.
    probability = threshold * (1 - 1e-5) - 1e-38
    return math.log(probability) - math.log1p(-probability) if probability > 0 else -math.inf


def _below(bound: float, dtype: torch.dtype) -> float:
    """A slightly lower bound, which is still one where it, or the logits, are rounded to a dtype or to fp32."""
    coarser = max((torch.finfo(kind) for kind in (dtype, torch.float32)), key=lambda info: info.eps)
    # Numbers around the bound are at most this far apart.
    return bound - coarser.eps * max(abs(bound), coarser.tiny) if math.isfinite(bound) else bound


def _above(values: Tensor, bound: float) -> Tensor:
    """(N,) values -> indices, ascending, of those above the bound."""
    whole = len(values) // _BLOCK * _BLOCK
    # Most blocks hold nothing: their largest says so in one pass that writes next to nothing. The largest of a block
    # with a NaN is NaN, which says nothing about the others.
    blocks = values[:whole].view(-1, _BLOCK)
    block = (~(blocks.amax(dim=1) <= bound) if len(blocks) else blocks.new_zeros(0)).nonzero().squeeze(1)
    row, column = (blocks[block] > bound).nonzero(as_tuple=True)
    rest = (values[whole:] > bound).nonzero().squeeze(1) + whole
    return torch.cat([block[row] * _BLOCK + column, rest])


def _divmod(index: Tensor, size: int) -> tuple[Tensor, Tensor]:
    quotient = torch.div(index, size, rounding_mode="floor")
    return quotient, index - quotient * size


def _rank(groups: Tensor, number: int) -> Tensor:
    """(N,) ascending groups below a number -> the place of each row in its group."""
    # No branch and no size depends on values that torch.export does not know.
    counts = groups.new_zeros(number).index_add_(0, groups, torch.ones_like(groups))
    starts = counts.cumsum(0) - counts
    return torch.arange(groups.shape[0], device=groups.device) - starts[groups]
