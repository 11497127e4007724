"""Targets of class scores, one per location and class, in the forms that callers have them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Target = Tensor | Sequence[Tensor]


def dense_quality(pred: Tensor, target: Target) -> Tensor:
    """Quality targets of all scores.

    Args:
        pred: (N, C) logits or probabilities.
        target: either ``(label, score)``, (N,) class indices (a label outside [0, C) is background) and (N,)
            qualities; or one (N, C) tensor of qualities.

    Returns:
        (N, C) fp32, without gradient.

    Raises:
        ValueError: for a target of another form, or shapes that do not fit.
    """
    if pred.dim() != 2:
        raise ValueError(f"pred has shape {tuple(pred.shape)}; the class loss takes (N, C), one row per location")
    if isinstance(target, Tensor):
        if target.dim() == 1:
            raise ValueError(
                f"target has shape {tuple(target.shape)}: the head gives its class loss labels alone, but this "
                "loss needs the quality of each box, too. Use gfl_plugin.GFLHead, or in RetinaNet, FCOS, FoveaBox, SSD "
                "gfl_plugin.RetinaQFLHead, FCOSQFLHead, FoveaQFLHead, SSDQFLHead (gfl-plugin swap writes such "
                "configs). DETR-like heads give a quality to mmdet.QualityFocalLoss only; other heads keep their own "
                "loss_cls. In your own code, give the tuple (label, score)"
            )
        if target.shape != pred.shape:
            raise ValueError(
                f"target has shape {tuple(target.shape)}; a dense target must have pred's: {tuple(pred.shape)}. "
                "For one class and quality per row, give the tuple (label, score)"
            )
        return target.detach().float()
    if not (isinstance(target, (tuple, list)) and len(target) == 2 and all(isinstance(t, Tensor) for t in target)):
        raise ValueError(
            f"target is {_describe(target)}; the class loss takes the tuple (label, score) of two (N,) tensors, "
            "or one (N, C) tensor of qualities"
        )
    label, score = target
    rows = (len(pred),)
    if label.shape != rows or score.shape != rows:
        raise ValueError(
            f"label and score have shapes {tuple(label.shape)} and {tuple(score.shape)}; both must be {rows}, "
            f"one entry per row of pred {tuple(pred.shape)}"
        )
    classes = pred.shape[1]
    foreground = (label >= 0) & (label < classes)
    quality = torch.zeros(pred.shape, device=pred.device)
    index = torch.where(foreground, label, 0).long()[:, None]
    value = torch.where(foreground, score.detach().float(), 0.0)[:, None]
    return quality.scatter_(1, index, value)


def is_positive(pred: Tensor, target: Target) -> Tensor:
    """Whether each score is that of an object's class.

    Args:
        pred: (N, C) logits or probabilities.
        target: as in :func:`dense_quality`.

    Returns:
        (N, C) bool. In the form of one tensor, qualities of 0 are background.

    Raises:
        ValueError: for a target of another form, or shapes that do not fit.
    """
    if isinstance(target, Tensor):
        return dense_quality(pred, target) > 0
    label, score = target
    return dense_quality(pred, (label, torch.ones_like(score))) > 0


def _describe(target: object) -> str:
    if isinstance(target, (tuple, list)):
        return f"a {type(target).__name__} of {len(target)}"
    return f"a {type(target).__name__}"
