"""MMDetection's GFLHead and the plugin's on the same tensors: equal first, then timed in turn."""

from __future__ import annotations

import contextlib
import json
import math
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from ..grid import Grid, Regions
from ..targets import GroundTruths

_STRIDES = (8, 16, 32, 64, 128)
_SHORT, _LONG = 800, 1333  # COCO's usual training size
# The agreement without which no time is printed, as a part of the largest number compared.
_LOSS_TOLERANCE, _GRADIENT_TOLERANCE = 1e-5, 1e-6


class Disagreement(ValueError):
    """The two heads' numbers differ, so that their times mean nothing."""


@dataclass(frozen=True)
class BenchmarkCase:
    """Inputs of both heads."""

    description: str
    classes: int
    cls_scores: list[Tensor]
    bbox_preds: list[Tensor]
    gt_instances: list[InstanceData]
    img_metas: list[dict]

    @staticmethod
    def coco(boxes: Path, batch: int = 8, classes: int = 80, first: int = 0, seed: int = 0) -> BenchmarkCase:
        """Real objects, scaled as MMDetection scales COCO (shorter side 800, longer at most 1333, padded to 32).

        Class logits are drawn around the head's initial -4.6, distribution logits around 0.

        Args:
            boxes: JSON list of images with height, width, boxes (x1, y1, x2, y2) and labels.
            batch: number of images.
            classes: C; labels are taken modulo it.
            first: index of the first landscape image.
            seed: of the logits.

        Raises:
            ValueError: when the file holds fewer images.
        """
        # MMDetection's AspectRatioBatchSampler does not mix landscape and portrait; these fill 800×1344.
        landscape = [image for image in json.loads(boxes.read_text()) if image["width"] >= image["height"]]
        images = landscape[first : first + batch]
        if len(images) < batch:
            raise ValueError(
                f"{boxes} holds {len(images)} landscape images from number {first}; the batch needs {batch}"
            )
        truths, metas = [], []
        for image in images:
            height, width = image["height"], image["width"]
            scale = min(_LONG / max(height, width), _SHORT / min(height, width))
            shape = (round(height * scale), round(width * scale))
            pad_shape = tuple(math.ceil(side / 32) * 32 for side in shape)
            metas.append(dict(img_shape=shape, pad_shape=pad_shape, scale_factor=(scale, scale)))
            labels = torch.tensor(image["labels"], dtype=torch.int64) % classes
            truths.append(InstanceData(bboxes=torch.tensor(image["boxes"]) * scale, labels=labels))
        height, width = 800, 1344
        random = torch.Generator().manual_seed(seed)
        sizes = [(math.ceil(height / stride), math.ceil(width / stride)) for stride in _STRIDES]
        return BenchmarkCase(
            description=f"batch {batch}, {height}×{width}, {classes} classes, {sum(map(len, truths))} objects, CPU",
            classes=classes,
            cls_scores=[torch.randn(batch, classes, *size, generator=random) - 4.6 for size in sizes],
            bbox_preds=[torch.randn(batch, 68, *size, generator=random) for size in sizes],
            gt_instances=truths,
            img_metas=metas,
        )


@dataclass(frozen=True)
class Pair:
    """One run of each head, one after the other: MMDetection's figure, then ours."""

    assignment: tuple[float, float]  # seconds
    loss: tuple[float, float]
    loss_and_backward: tuple[float, float]


@dataclass(frozen=True)
class Row:
    """A line of the table; the ratio is MMDetection's over ours."""

    name: str
    theirs: float
    ours: float
    unit: str  # "ms" or "MB"
    ratio: float  # median of the pairs' ratios
    low: float | None = None  # quartiles of the pairs' ratios
    high: float | None = None

    @property
    def theirs_text(self) -> str:
        return f"{self.theirs:.1f} {self.unit}"

    @property
    def ours_text(self) -> str:
        return f"{self.ours:.1f} {self.unit}"


def build_heads(classes: int) -> tuple[torch.nn.Module, torch.nn.Module]:
    """MMDetection's head and ours, with the settings of its GFL configs."""
    config = dict(
        num_classes=classes,
        in_channels=256,
        anchor_generator=dict(
            type="AnchorGenerator", ratios=[1.0], octave_base_scale=8, scales_per_octave=1, strides=list(_STRIDES)
        ),
        loss_cls=dict(type="QualityFocalLoss", use_sigmoid=True, beta=2.0, loss_weight=1.0),
        loss_dfl=dict(type="DistributionFocalLoss", loss_weight=0.25),
        loss_bbox=dict(type="GIoULoss", loss_weight=2.0),
        reg_max=16,
        train_cfg=dict(assigner=dict(type="ATSSAssigner", topk=9), allowed_border=-1, pos_weight=-1, debug=False),
    )
    theirs, ours = (MODELS.build(ConfigDict(type=kind, **config)) for kind in ("mmdet.GFLHead", "gfl_plugin.GFLHead"))
    return theirs, ours


def run_pairs(
    case: BenchmarkCase,
    runs: int,
    threads: int = 2,
    track: Callable[[Sequence[int]], Iterable[int]] = lambda steps: steps,
) -> tuple[dict[str, float], list[Pair]]:
    """Check that both heads agree, then time them in turn.

    Args:
        case: the inputs.
        runs: number of pairs counted, after two that are not.
        threads: CPU threads.
        track: wraps the steps, to show progress.

    Returns:
        The largest relative differences found, and the pairs.

    Raises:
        Disagreement: when losses differ by more than 1e-5, or gradients by more than 1e-6 of the largest.
    """
    torch.set_num_threads(threads)
    theirs, ours = build_heads(case.classes)
    difference = agreement(case, theirs, ours)
    pairs = [_pair(case, theirs, ours) for _ in track(range(runs + 2))]
    return difference, pairs[2:]


def agreement(case: BenchmarkCase, theirs: torch.nn.Module, ours: torch.nn.Module) -> dict[str, float]:
    """Largest differences of losses (relative) and gradients (of the largest), or Disagreement."""
    results = []
    for head in (theirs, ours):
        maps = _leaves(case)
        losses = head.loss_by_feat(*maps, case.gt_instances, case.img_metas)
        _total(losses).backward()
        results.append((losses, [level.grad for levels in maps for level in levels]))
    (their_losses, their_gradients), (our_losses, our_gradients) = results
    loss = max(
        abs(float(a - b)) / max(abs(float(a)), 1e-12)
        for name in their_losses
        for a, b in zip(their_losses[name], our_losses[name])
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


def measure(case: BenchmarkCase, pairs: Sequence[Pair]) -> list[Row]:
    """The table's rows: medians of times and of the pairs' ratios, and bytes kept for backward."""
    rows = []
    for name in ("assignment", "loss", "loss_and_backward"):
        theirs, ours = zip(*(getattr(pair, name) for pair in pairs))
        ratios = [a / b for a, b in zip(theirs, ours)]
        low, _, high = statistics.quantiles(ratios, n=4)
        text = name.replace("_and_", " + ")
        times = 1000 * statistics.median(theirs), 1000 * statistics.median(ours)
        rows.append(Row(text, *times, "ms", statistics.median(ratios), low, high))
    saved = [saved_bytes(case, head) / 1e6 for head in build_heads(case.classes)]
    rows.append(Row("kept for backward", *saved, "MB", saved[0] / saved[1]))
    return rows


def saved_bytes(case: BenchmarkCase, head: torch.nn.Module) -> int:
    """Bytes autograd keeps between loss and backward: each memory counted once, the logits themselves not."""
    maps = _leaves(case)
    inputs = {level.untyped_storage().data_ptr() for levels in maps for level in levels}
    storages: dict[int, tuple[int, Tensor]] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in inputs:
            storages[storage.data_ptr()] = (storage.nbytes(), tensor)  # held, so that no address is used again
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        losses = head.loss_by_feat(*maps, case.gt_instances, case.img_metas)
    del losses
    return sum(size for size, _ in storages.values())


def _pair(case: BenchmarkCase, theirs: torch.nn.Module, ours: torch.nn.Module) -> Pair:
    assignment = (_their_assignment(case, theirs), _our_assignment(case, ours))
    steps = [_step(case, head) for head in (theirs, ours)]
    return Pair(assignment, *zip(*steps))


def _step(case: BenchmarkCase, head: torch.nn.Module) -> tuple[float, float]:
    """Seconds of the loss, and of loss and backward."""
    maps = _leaves(case)
    clock = time.perf_counter()
    total = _total(head.loss_by_feat(*maps, case.gt_instances, case.img_metas))
    loss = time.perf_counter() - clock
    total.backward()
    return loss, time.perf_counter() - clock


def _their_assignment(case: BenchmarkCase, head: torch.nn.Module) -> float:
    """Everything from boxes to positives: anchors, flags, assignment and dense targets."""
    sizes = [level.shape[-2:] for level in case.cls_scores]
    with _timer() as seconds:
        anchors, flags = head.get_anchors(sizes, case.img_metas, device="cpu")
        head.get_targets(anchors, flags, case.gt_instances, case.img_metas)
    return seconds[0]


def _our_assignment(case: BenchmarkCase, head: torch.nn.Module) -> float:
    """The same way: grid, regions, flat objects, assignment and positives."""
    device = torch.device("cpu")
    with _timer() as seconds:
        grid = Grid.of(head.prior_generator, [level.shape[-2:] for level in case.cls_scores], device)
        regions = Regions.of(grid, case.img_metas)
        truths = GroundTruths.of(case.gt_instances, device)
        head.assigner.assign_batch(truths, grid, regions).positives(grid)
    return seconds[0]


@contextlib.contextmanager
def _timer() -> Iterator[list[float]]:
    seconds = [0.0]
    clock = time.perf_counter()
    yield seconds
    seconds[0] = time.perf_counter() - clock


def _leaves(case: BenchmarkCase) -> tuple[list[Tensor], list[Tensor]]:
    """The logits as leaves without a gradient, of the same memory."""
    cls_scores, bbox_preds = (
        [level.detach().requires_grad_() for level in levels] for levels in (case.cls_scores, case.bbox_preds)
    )
    return cls_scores, bbox_preds


def _total(losses: dict[str, list[Tensor]]) -> Tensor:
    return sum(sum(levels) for levels in losses.values())
