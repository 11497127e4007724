"""Errors for parts, batches and checkpoints that do not fit GFLHead."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from mmengine.logging import print_log
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ..ops.host_values import on_host
from ..structures.grid import Grid
from ..structures.ground_truths import GroundTruths
from ..structures.positives import Positives


def check_bins_of(loss_dfl: nn.Module | None) -> None:
    """Check that a side loss has no bins of its own.

    Args:
        loss_dfl: the built side loss, or None.

    Raises:
        ValueError: if ``first`` or ``step`` is set.
    """
    if getattr(loss_dfl, "first", 0.0) != 0.0 or getattr(loss_dfl, "step", 1.0) != 1.0:
        raise ValueError("loss_dfl sets first or step; inside GFLHead the bins belong to bbox_coder, set them there")


def check_box_loss(loss_bbox: nn.Module) -> None:
    """Check that a box loss gives one value per box.

    Args:
        loss_bbox: the built box loss.

    Raises:
        ValueError: for a loss that compares single coordinates.
    """
    box = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    if loss_bbox(box, box, reduction_override="none").shape != (1,):
        raise ValueError(
            f"loss_bbox is a {type(loss_bbox).__name__}, which compares coordinates one by one; GFLHead "
            "needs one value per box: loss_bbox=dict(type='GIoULoss', loss_weight=2.0)"
        )


def check_maps(cls_scores: Sequence[Tensor], bbox_preds: Sequence[Tensor], images: int, classes: int) -> None:
    """Check images, classes, locations and devices of maps; otherwise indices could point to wrong elements.

    Args:
        cls_scores: L maps (B, C, H, W).
        bbox_preds: L maps (B, D, H, W).
        images: B.
        classes: C.

    Raises:
        ValueError: for maps that do not fit together.
    """
    if len(cls_scores) != len(bbox_preds):
        raise ValueError(
            f"{len(cls_scores)} class maps came with {len(bbox_preds)} box maps; give one of each per level"
        )
    for number, (scores, boxes) in enumerate(zip(cls_scores, bbox_preds)):
        if scores.device != boxes.device or scores.device != cls_scores[0].device:
            raise ValueError(
                f"level {number}'s class map lies on {scores.device}, its box map on {boxes.device}, and level 0's "
                f"class map on {cls_scores[0].device}; bring all to one device"
            )
        expected = (images, classes, *scores.shape[2:])
        expected_boxes = (images, bbox_preds[0].shape[1], *scores.shape[2:])
        if scores.shape != expected or boxes.shape != expected_boxes:
            raise ValueError(
                f"level {number} has a class map {tuple(scores.shape)} and a box map {tuple(boxes.shape)} for "
                f"{images} images and {classes} classes; they must be "
                "(images, classes, H, W) and (images, numbers per box, H, W)"
            )


def check_soft_targets(soft_targets: Sequence[Tensor], bbox_preds: Sequence[Tensor]) -> None:
    """Check that a teacher's box maps have the shapes and the device of the student's.

    Args:
        soft_targets: L maps (B, D, H, W) of the teacher.
        bbox_preds: L maps (B, D, H, W) of the student.

    Raises:
        ValueError: for maps that do not fit together.
    """
    if len(soft_targets) != len(bbox_preds):
        raise ValueError(
            f"the teacher gives box maps of {len(soft_targets)} levels, the student of {len(bbox_preds)}; their necks "
            "and anchor generators must have the same levels"
        )
    for number, (teacher, student) in enumerate(zip(soft_targets, bbox_preds)):
        if teacher.shape != student.shape:
            raise ValueError(
                f"level {number}: the teacher's box map has shape {tuple(teacher.shape)}, the student's "
                f"{tuple(student.shape)}; both need the same strides and the same bins"
            )
        if teacher.device != student.device:
            raise ValueError(
                f"level {number}: the teacher's box map lies on {teacher.device}, the student's on {student.device}; "
                "bring both to one device"
            )


def check_instances(instances: Sequence[InstanceData] | None, images: int) -> None:
    """Check the number of images that have annotations.

    Args:
        instances: ground truths or ignored regions of each image, or None.
        images: images of the batch.

    Raises:
        ValueError: for another number.
    """
    if instances is not None and len(instances) != images:
        raise ValueError(
            f"boxes of {len(instances)} images came with maps of {images}; give one InstanceData per image"
        )


def check_labels(truths: GroundTruths, classes: int) -> None:
    """Check that labels are class indices.

    Labels on a GPU are not checked, because the host would have to wait for them.

    Args:
        truths: objects of a batch.
        classes: number of classes.

    Raises:
        ValueError: for a label outside [0, classes).
    """
    if on_host(truths.labels) and len(truths):
        low, high = truths.labels.aminmax()
        if low < 0 or high >= classes:
            raise ValueError(
                f"an object has label {int(low if low < 0 else high)}, but the head has num_classes="
                f"{classes}; set bbox_head.num_classes to the number of classes of the data set's metainfo"
            )


def check_positives(positives: Positives, truths: GroundTruths, grid: Grid, assigner: object) -> None:
    """Check the indices of an assigner's positives; compiled loops would read and write other memory.

    Positives on a GPU are not checked, because the host would have to wait for them.

    Args:
        positives: what the assigner gave.
        truths: objects of the batch.
        grid: locations of the batch.
        assigner: named in the message.

    Raises:
        ValueError: for another number of levels, an image, an object or a location that does not exist, or a location
            in another image than its object.
    """
    name = type(assigner).__name__
    if len(positives.counts) != grid.num_levels:
        raise ValueError(
            f"{name} gave positives of {len(positives.counts)} levels, but the head has {grid.num_levels}; "
            "level is an index in [0, grid.num_levels)"
        )
    if not on_host(positives.location):
        return
    indices = [
        ("an image", positives.image, len(truths.counts), "images"),
        ("an object", positives.gt_index, len(truths), "objects"),
    ]
    for level, (location, (height, width)) in enumerate(zip(positives.per_level(positives.location), grid.sizes)):
        indices.append((f"a location on level {level}", location, height * width, f"locations, {height} x {width}"))
    for what, rows, count, there in indices:
        low, high = map(int, rows.aminmax()) if len(rows) else (0, -1)
        if low < 0 or high >= count:
            raise ValueError(
                f"{name} gave {what} the index {low if low < 0 else high}, but there are {count} {there}; indices "
                "count from 0, and a location's is row · W + column on its own level"
            )
    if bool(((truths.image[positives.gt_index] != positives.image) & positives.active).any()):
        raise ValueError(f"{name} gave a location of one image to an object of another")


def check_quality_weights(state_dict: dict, prefix: str, own: Sequence[str]) -> None:
    """Check that a checkpoint of GFLV2 is loaded by a head of GFLV2; in others, its scores would lack a factor.

    Args:
        state_dict: the checkpoint's weights.
        prefix: of the head's keys.
        own: names of the weights of the head's quality representation.

    Raises:
        ValueError: for weights of GFLV2's quality layers that the head does not have.
    """
    outer = (f"{prefix}reg_conf.", f"{prefix}quality.reg_conf.")
    if any(key.startswith(outer) for key in state_dict) and not any(name.startswith("reg_conf.") for name in own):
        raise ValueError(
            "the checkpoint is one of GFLV2, whose scores are products of class score and quality; write "
            "bbox_head.quality=dict(type='DistributionGuidedQuality')"
        )


def check_state_dict(state_dict: dict, prefix: str, channels: int) -> None:
    """Check that weights are those of this head; MMEngine would only log differing keys and keep random weights.

    Args:
        state_dict: the checkpoint's weights.
        prefix: of the head's keys.
        channels: output channels of this head's ``gfl_reg``.

    Raises:
        ValueError: for another head's weights, or another number of bins.
    """
    keys = [key[len(prefix) :] for key in state_dict if prefix and key.startswith(prefix)]
    if keys and not any(key.startswith("gfl_") for key in keys):
        heads = sorted({key.split(".")[0] for key in keys})
        raise ValueError(
            f"the checkpoint holds another head ({', '.join(heads)}), none of GFLHead's gfl_cls and gfl_reg. To "
            "start from its backbone alone, write backbone.init_cfg=dict(type='Pretrained', checkpoint=..., "
            "prefix='backbone.') in place of load_from"
        )
    weight = state_dict.get(f"{prefix}gfl_reg.weight")
    if weight is not None and len(weight) != channels:
        raise ValueError(
            f"the checkpoint's gfl_reg has {len(weight)} channels (reg_max={len(weight) // 4 - 1}), this head's "
            f"{channels} (reg_max={channels // 4 - 1}); set bbox_head.reg_max (or "
            "bbox_coder, where it is another) to the checkpoint's, or add bins to a trained head with: gfl-plugin widen"
        )


def keep_bins(state_dict: dict, prefix: str, bins: Tensor | None) -> None:
    """Keep a head's bins when a checkpoint is loaded, and warn if the checkpoint's are others.

    MMDetection saves bins as ``integral.project``. They belong to the config: with other bins the same weights mean
    other distances, so that such a checkpoint is only a start for training.

    Args:
        state_dict: the checkpoint's weights; its bins are replaced.
        prefix: of the head's keys.
        bins: the head's, (n + 1,), or None if it has none.
    """
    key = f"{prefix}integral.project"
    saved = state_dict.get(key)
    if bins is None or not isinstance(saved, Tensor) or saved.shape != bins.shape or saved.is_meta:
        return
    saved = saved.detach().float().cpu()
    if not torch.allclose(saved, bins, rtol=1e-3, atol=1e-3):
        print_log(
            f"the checkpoint's head was trained with the bins {_listed(saved)}, this head has {_listed(bins)}. Its "
            "distances are wrong until it is trained; to use the checkpoint as it is, set bbox_coder to its bins",
            logger="current",
            level=logging.WARNING,
        )
    state_dict[key] = bins


def _listed(bins: Tensor) -> str:
    """The first three bins and the last."""
    values = [f"{value:.4g}" for value in bins.tolist()]
    return f"[{', '.join(values if len(values) < 5 else [*values[:3], '…', values[-1]])}]"
