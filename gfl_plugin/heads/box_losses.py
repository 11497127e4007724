"""Predictions at the positives with their objects, and the losses of boxes and sides."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from ..coders import DistanceBBoxCoder
from ..structures.grid import Grid
from ..structures.ground_truths import GroundTruths
from ..structures.matched import Matched
from ..structures.positives import Positives, gather_locations, highest_at_locations

# Losses by name, one scalar per level, of predictions and targets at the positives, the positives' weights (P,) before
# they are divided by their sum (0 for inactive ones), and the positives.
PositiveLosses = Callable[[Matched, Tensor, Positives], dict[str, list[Tensor]]]


def match(
    cls_scores: Sequence[Tensor],
    bbox_preds: Sequence[Tensor],
    truths: GroundTruths,
    grid: Grid,
    positives: Positives,
    coder: DistanceBBoxCoder,
) -> Matched:
    """Collect and decode the predictions at the positives.

    Args:
        cls_scores: L maps (B, C, H, W) of class logits.
        bbox_preds: L maps (B, encode_size, H, W) of box numbers.
        truths: the objects.
        grid: locations and strides.
        positives: the locations and their objects.
        coder: decodes box numbers.

    Returns:
        Predictions and targets; boxes and box numbers with gradients.
    """
    stride = grid.stride[positives.level][:, None]
    # As in MMDetection, centers and boxes are divided by the stride before they are combined.
    center = grid.center(positives.level, positives.location) / stride
    box = truths.boxes[positives.gt_index] / stride
    raw = gather_locations(bbox_preds, positives).float()
    highest = highest_at_locations(cls_scores, positives)
    return Matched(
        distance=coder.encode(center, box),
        predicted=coder.decode(center, raw),
        target=box,
        score=highest.float().sigmoid(),
        raw=raw,
        label=truths.labels[positives.gt_index],
        active=positives.active,
        classes=cls_scores[0].shape[1],
    )


def box_losses(
    matched: Matched,
    share: Tensor,
    positives: Positives,
    coder: DistanceBBoxCoder,
    loss_bbox: nn.Module,
    loss_dfl: nn.Module | None,
) -> dict[str, list[Tensor]]:
    r"""Losses of boxes and of their sides.

    .. math:: \sum_z s_z L_B(z), \qquad \sum_z s_z \tfrac{1}{4} \sum_{side} L_D(z, side)

    Args:
        matched: predictions and targets at the positives.
        share: (P,) :math:`s_z`, weight of each positive divided by the sum of all weights.
        positives: the positives, to sum per level.
        coder: gives the inputs and targets of the side loss.
        loss_bbox: box loss with one value per box.
        loss_dfl: side loss, or None.

    Returns:
        ``loss_bbox`` and, with a side loss, ``loss_dfl``: lists of one scalar per level.
    """
    rows = {"loss_bbox": loss_bbox(matched.predicted, matched.target, reduction_override="none") * share}
    if loss_dfl is not None:
        position = coder.position(matched.distance).reshape(-1)
        sides = loss_dfl(coder.sides(matched.raw), position, reduction_override="none")
        rows["loss_dfl"] = sides.view(-1, 4).mean(dim=1) * share
    return {name: list(positives.level_sums(values).unbind()) for name, values in rows.items()}
