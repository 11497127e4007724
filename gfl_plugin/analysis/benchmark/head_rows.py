"""Rows for the head alone in training: assignment, loss, backward."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ...structures.grid import Grid
from ...structures.ground_truths import GroundTruths
from ...structures.valid_regions import ValidRegions
from .case import BenchmarkCase
from .checks import agreement, total
from .heads import build_heads
from .machine_limits import MachineLimits
from .paired_cost import WARM_UP
from .row import Row, differences_text, row_of_times, timed_row
from .settings import Report, Settings
from .timing import seconds


def head_rows(settings: Settings, limits: MachineLimits, report: Report) -> Iterator[Row]:
    """Measure assignment, loss, loss and backward, and the memory that autograd saves for backward.

    Args:
        settings: settings of the benchmark.
        limits: limits of the machine.
        report: function that is called with the name of the current measurement.

    Yields:
        The rows.

    Raises:
        Disagreement: if the numbers of the two heads differ.
    """
    case, device = settings.case(), settings.device
    heads = theirs, ours = build_heads(settings.classes, device)
    report("comparing losses and gradients")
    differences = differences_text(agreement(case, theirs, ours))
    report("assignment")
    assign = (lambda: _their_assignment(case, theirs), lambda: _our_assignment(case, ours))
    yield timed_row("assignment", assign, settings.runs, device)
    report("loss and backward")
    logits, distributions = (sum(level.nbytes for level in maps) for maps in (case.cls_scores, case.bbox_preds))
    elements = sum(level.numel() for level in case.cls_scores)
    # Class logits are read, and both gradients are written; each class logit needs an exponential and a logarithm.
    floors = (limits.floor(2 * logits, 2 * elements), limits.floor(2 * logits + distributions, 2 * elements))
    pairs = [[_loss_and_backward(case, head, device) for head in heads] for _ in range(settings.runs + WARM_UP)]
    for name, part, floor in (("loss", 0, floors[0]), ("loss + backward", 1, floors[1])):
        times = [(pair[0][part], pair[1][part]) for pair in pairs[WARM_UP:]]
        yield row_of_times(name, times, floor, differences)
    saved = [saved_bytes(case, head) / 1e6 for head in heads]
    yield Row("kept for backward", *saved, "MB", saved[0] / saved[1])


def _loss_and_backward(case: BenchmarkCase, head: nn.Module, device: str) -> tuple[float, float]:
    """Seconds of the loss, and of loss and backward."""
    maps = case.leaves()
    losses: list[Tensor] = []
    loss = seconds(lambda: losses.append(total(head.loss_by_feat(*maps, case.gt_instances, case.img_metas))), device)
    return loss, loss + seconds(losses[0].backward, device)


def _their_assignment(case: BenchmarkCase, head: nn.Module) -> None:
    """Compute positives from boxes: anchors, flags, assignment and dense targets."""
    sizes = [level.shape[-2:] for level in case.cls_scores]
    anchors, flags = head.get_anchors(sizes, case.img_metas, device=case.cls_scores[0].device)
    head.get_targets(anchors, flags, case.gt_instances, case.img_metas)


def _our_assignment(case: BenchmarkCase, head: nn.Module) -> None:
    """Compute positives from boxes: grid, regions, ground truths and assignment."""
    device = case.cls_scores[0].device
    grid = Grid.of(head.layout, [level.shape[-2:] for level in case.cls_scores], device)
    regions = ValidRegions.of(grid, case.img_metas)
    truths = GroundTruths.of(case.gt_instances, device)
    head.assigner.select(truths, grid, regions).positives(grid)


def saved_bytes(case: BenchmarkCase, head: nn.Module) -> int:
    """Compute the bytes that autograd saves for backward; each storage is counted once, those of the logits are not.

    Args:
        case: inputs.
        head: head whose loss is computed.

    Returns:
        The number of bytes.
    """
    maps = case.leaves()
    inputs = {level.untyped_storage().data_ptr() for levels in maps for level in levels}
    storages: dict[int, tuple[int, Tensor]] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in inputs:
            storages[storage.data_ptr()] = (storage.nbytes(), tensor)  # kept alive, so that its address is not reused
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        losses = head.loss_by_feat(*maps, case.gt_instances, case.img_metas)
    del losses
    return sum(size for size, _ in storages.values())
