"""Checks that both heads return the same numbers before any time is printed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .case import BenchmarkCase

_LOSS_TOLERANCE, _GRADIENT_TOLERANCE = 1e-5, 1e-6  # relative to the largest number compared
_BOX_TOLERANCE = 1e-3  # pixels


class Disagreement(ValueError):
    """Raised if the numbers of the two heads differ, since their times are then not comparable."""


def total(losses: dict[str, list[Tensor]]) -> Tensor:
    """Sum all losses.

    Args:
        losses: per name, one loss per level.

    Returns:
        The sum, a scalar.
    """
    return sum(sum(levels) for levels in losses.values())


def agreement(case: BenchmarkCase, theirs: nn.Module, ours: nn.Module) -> dict[str, float]:
    """Compute the largest differences of losses and gradients.

    Args:
        case: inputs.
        theirs: MMDetection's head.
        ours: the plugin's head.

    Returns:
        The relative difference of losses, and the difference of gradients relative to the largest gradient.

    Raises:
        Disagreement: if losses differ by more than 1e-5, or gradients by more than 1e-6 of the largest.
    """
    results = []
    for head in (theirs, ours):
        maps = case.leaves()
        losses = head.loss_by_feat(*maps, case.gt_instances, case.img_metas)
        total(losses).backward()
        values = {name: [float(level.detach()) for level in levels] for name, levels in losses.items()}
        results.append((values, [level.grad for levels in maps for level in levels]))
    (their_losses, their_gradients), (our_losses, our_gradients) = results
    loss = max(
        abs(a - b) / max(abs(a), 1e-12) for name in their_losses for a, b in zip(their_losses[name], our_losses[name])
    )
    levels = len(case.cls_scores)
    gradient = max(
        max(float((a - b).abs().max()) for a, b in zip(their_gradients[part], our_gradients[part]))
        / max(float(a.abs().max()) for a in their_gradients[part])
        for part in (slice(0, levels), slice(levels, None))
    )
    if not (loss <= _LOSS_TOLERANCE and gradient <= _GRADIENT_TOLERANCE):
        raise Disagreement(f"losses differ by {loss:.1e} (relative), gradients by {gradient:.1e} of the largest")
    return {"losses (relative)": loss, "gradients (of the largest)": gradient}


def detections_agree(case: BenchmarkCase, theirs: nn.Module, ours: nn.Module) -> dict[str, float]:
    """Compute the largest difference of detected boxes.

    Args:
        case: inputs.
        theirs: MMDetection's head.
        ours: the plugin's head.

    Returns:
        The difference in pixels; its key contains the number of detections.

    Raises:
        Disagreement: if number or labels of detections differ, or boxes differ by more than 1e-3 px.
    """
    results = [
        head.predict_by_feat(case.cls_scores, case.bbox_preds, batch_img_metas=case.img_metas, rescale=True)
        for head in (theirs, ours)
    ]
    largest, count = 0.0, 0
    for number, (expected, found) in enumerate(zip(*results)):
        if len(expected) != len(found) or not torch.equal(expected.labels, found.labels):
            raise Disagreement(
                f"image {number}: {len(expected)} detections with MMDetection, {len(found)} with gfl_plugin, or "
                "different labels"
            )
        count += len(found)
        if len(found):
            largest = max(largest, float((expected.bboxes - found.bboxes).abs().max()))
    if largest > _BOX_TOLERANCE:
        raise Disagreement(f"detected boxes differ by {largest:.1e} px")
    return {f"boxes of {count} detections (px)": largest}
