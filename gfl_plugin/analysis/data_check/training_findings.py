"""Checks of the training targets that a GFL head gets from a dataset."""

from __future__ import annotations

import torch

from ...coders import IntegralBBoxCoder
from ...heads import GFLHead
from .bin_proposals import MAX_CLIPPED, bin_coverage
from .findings import Finding
from .training_view import TrainingView

# Larger shares are a mistake. With random scales and mosaics, every dataset has some tiny objects and a few long sides.
_MAX_UNASSIGNED = 0.5
_MAX_CLIPPED = 0.05


def training_findings(view: TrainingView, head: GFLHead) -> list[Finding]:
    """Find objects without a location, and sides that exceed the last bin.

    More than half of the objects, or more than 5 % of the sides, are a mistake; fewer are information.

    Args:
        view: training targets of the dataset.
        head: the head with which they were computed.

    Returns:
        The findings.
    """
    found = [
        Finding.of_names(
            "objects without a location",
            len(view.unassigned) > _MAX_UNASSIGNED * view.objects,
            view.unassigned,
            view.objects,
            _unassigned_advice(head),
        )
    ]
    coder = head.bbox_coder
    if isinstance(coder, IntegralBBoxCoder):
        last = coder.last
        every = torch.cat(view.sides)
        beyond = [(level > last).float() for level in view.sides]
        shares = [
            f"stride {stride:g}: {int(part.sum())} of {len(part)} ({float(part.mean()):.2%})"
            for stride, part in zip(head.layout.strides, beyond)
            if part.any()
        ]
        if shares:
            suggested = bin_coverage(view, head).bins[1]
            advice = (
                f"their targets are clipped to {last:g} strides; reg_max={suggested.reg_max} with uniform bins covers "
                f"{1 - MAX_CLIPPED:.1%} of the sides of every level"
            )
            clipped = int((every > last).sum())
            serious = clipped > _MAX_CLIPPED * len(every)
            found.append(Finding("sides beyond the last bin", serious, clipped, len(every), tuple(shares), advice))
    return [one for one in found if one.count]


def _unassigned_advice(head: GFLHead) -> str:
    larger = "if they are tiny, enlarge images (Resize), or add a level with a smaller stride"
    if getattr(head.assigner, "min_positives", 0):  # these objects overlap no prior that is free
        return larger
    return (
        "give each object its best prior with train_cfg.assigner=dict(type='gfl_plugin.ATSSAssigner', topk=9, "
        f"min_positives=1); {larger}"
    )
