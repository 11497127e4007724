"""Rows for GFLV2: losses and backward from the outputs of the convolutions, and a training step of the whole head."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from .case import BenchmarkCase
from .checks import Disagreement, total
from .gflv2 import OurGFLV2, TheirGFLV2, build_gflv2, gflv2_losses
from .heads import CHANNELS, build_heads
from .machine_limits import MachineLimits
from .paired_cost import alternate_times
from .row import Row, differences_text, row_of_times, row_relative_to_gfl
from .settings import Report, Settings

# Relative to the largest number compared. Where an input of the ReLU is 0 up to rounding, or two probabilities are
# equal, one location's gradient may differ by 1e-5 of the largest. The layers' gradients are sums over all locations.
_TOLERANCES = {
    "losses (relative)": 1e-5,
    "gradients (of the largest)": 2e-5,
    "gradients of the layers (of the largest)": 2e-5,
}


def gflv2_rows(settings: Settings, limits: MachineLimits, report: Report) -> Iterator[Row]:
    """Measure losses and backward of GFLV2, and a training step of its head; each also relative to GFL's.

    GFL and GFLV2, of MMDetection and of the plugin, take turns.

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
    models, plain = build_gflv2(settings.classes, device), build_heads(settings.classes, device)
    report("GFLV2: comparing losses and gradients")
    differences = differences_text(_agreement(case, *models))
    report("GFLV2: loss and backward")
    runs = [*(lambda model=model: _step(model, case) for model in models)]
    runs += [*(lambda head=head: _plain_step(head, case) for head in plain)]
    yield from _rows("GFLV2: loss + backward", runs, settings, _floor(case, models[0], limits), differences)

    report("GFLV2: training step of the head")
    case = settings.case(batch=settings.step_batch, short=settings.step_size)
    features = [torch.randn(len(level), CHANNELS, *level.shape[2:], device=device) for level in case.cls_scores]
    runs = [*(lambda model=model: _head_step(model, features, case) for model in models)]
    runs += [*(lambda head=head: _plain_head_step(head, features, case) for head in plain)]
    name = f"GFLV2: head step, batch {settings.step_batch}, shorter side {settings.step_size}"
    yield from _rows(name, runs, settings, None, "")


def _rows(
    name: str, runs: list[Callable[[], None]], settings: Settings, floor: float | None, agreement: str
) -> Iterator[Row]:
    """Two rows from four calls: GFLV2 by MMDetection and by the plugin, GFL by both."""
    times = alternate_times(runs, settings.runs, settings.device)
    yield row_of_times(name, [turn[:2] for turn in times], floor, agreement)
    yield row_relative_to_gfl(name, times)


def _step(model: TheirGFLV2 | OurGFLV2, case: BenchmarkCase) -> tuple[dict, list[Tensor]]:
    """Losses, and the gradients of class logits, box logits and layers."""
    cls_logits, box_logits = case.leaves()
    losses = gflv2_losses(model, cls_logits, box_logits, case)
    inputs = [*cls_logits, *box_logits, *model.layer_parameters()]
    return losses, list(torch.autograd.grad(total(losses), inputs))


def _plain_step(head: nn.Module, case: BenchmarkCase) -> None:
    total(head.loss_by_feat(*case.leaves(), case.gt_instances, case.img_metas)).backward()


def _head_step(model: TheirGFLV2 | OurGFLV2, features: list[Tensor], case: BenchmarkCase) -> None:
    """Towers, losses and backward to the features."""
    if isinstance(model, OurGFLV2):
        _plain_head_step(model.head, features, case)
        return
    cls_logits, box_logits = model.head([level.detach().requires_grad_() for level in features])
    total(gflv2_losses(model, cls_logits, box_logits, case)).backward()


def _plain_head_step(head: nn.Module, features: list[Tensor], case: BenchmarkCase) -> None:
    maps = head([level.detach().requires_grad_() for level in features])
    total(head.loss_by_feat(*maps, case.gt_instances, case.img_metas)).backward()


def _agreement(case: BenchmarkCase, theirs: TheirGFLV2, ours: OurGFLV2) -> dict[str, float]:
    """The largest differences; raises Disagreement if one is larger than its tolerance."""
    (their_losses, their_gradients), (our_losses, our_gradients) = _step(theirs, case), _step(ours, case)
    losses = [
        abs(float(a - b)) / max(abs(float(a)), 1e-12)
        for name in their_losses
        for a, b in zip(their_losses[name], our_losses[name])
    ]
    levels = len(case.cls_scores)

    def difference(part: slice) -> float:
        pairs = list(zip(their_gradients[part], our_gradients[part]))
        return max(float((a - b).abs().max()) for a, b in pairs) / max(float(a.abs().max()) for a, _ in pairs)

    maps = max(difference(slice(0, levels)), difference(slice(levels, 2 * levels)))
    layers = max(difference(slice(index, index + 1)) for index in range(2 * levels, len(their_gradients)))
    found = dict(zip(_TOLERANCES, (max(losses), maps, layers)))
    for name, value in found.items():
        if not value <= _TOLERANCES[name]:
            raise Disagreement(f"GFLV2: {differences_text(found)}; {name} must be at most {_TOLERANCES[name]}")
    return found


def _floor(case: BenchmarkCase, model: TheirGFLV2, limits: MachineLimits) -> float:
    """Lower bound on the seconds of losses and backward.

    Class logits are read and their gradient is written; box logits are read forward and backward, and their gradient is
    written. Each class logit needs an exponential and a logarithm, each box logit an exponential. Each weight of the
    layers is multiplied forward, and twice backward, at each location.
    """
    logits, boxes = (sum(level.nbytes for level in maps) for maps in (case.cls_scores, case.bbox_preds))
    elements, bins = (sum(level.numel() for level in maps) for maps in (case.cls_scores, case.bbox_preds))
    locations = elements // case.classes
    weights = sum(parameter.numel() for parameter in model.layer_parameters() if parameter.dim() > 1)
    return limits.floor(2 * logits + 3 * boxes, 2 * elements + bins, 3 * weights * locations)
