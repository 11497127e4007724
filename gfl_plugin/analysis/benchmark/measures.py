"""The rows of the table: each a cost of MMDetection's head, of ours, and the floor under both."""

from __future__ import annotations

import functools
import gc
import multiprocessing
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ...structures.grid import Grid
from ...structures.ground_truths import GroundTruths
from ...structures.valid_regions import ValidRegions
from .case import BenchmarkCase, build_heads
from .checks import Disagreement, agreement, detections_agree, total
from .detector import Scene, Trainer, build_detectors, let_through, steps_agree
from .floor import Machine, seconds

_WARM_UP = 2  # pairs that do not count


@dataclass(frozen=True)
class Settings:
    """What is measured, and how often."""

    boxes: Path
    batch: int = 8
    classes: int = 80
    first: int = 0
    runs: int = 11  # pairs counted
    device: str = "cpu"
    above: int = 1000  # scores an image above the threshold at test time
    step_batch: int = 2  # images of a whole training step
    step_size: int = 320  # side of its images, pixels
    step_runs: int = 7
    low_precision: bool = False  # whole steps under bf16 autocast

    def case(self, **changes: object) -> BenchmarkCase:
        """The inputs of the heads."""
        given = dict(batch=self.batch, classes=self.classes, first=self.first, device=self.device)
        return BenchmarkCase.coco(self.boxes, **{**given, **changes})


@dataclass(frozen=True)
class Row:
    """A line of the table; the ratio is MMDetection's cost over ours."""

    name: str
    theirs: float
    ours: float
    unit: str  # "ms", "MB" or "images/s"
    ratio: float  # median of the pairs' ratios
    low: float | None = None  # quartiles of the pairs' ratios
    high: float | None = None
    floor: float | None = None  # in the same unit
    agreement: str = ""  # what was compared in the same run, and the largest difference

    def text(self, value: float | None) -> str:
        """A cost with its unit."""
        return "" if value is None else f"{value:.2f} {self.unit}" if value < 10 else f"{value:.0f} {self.unit}"


Report = Callable[[str], None]


def row_names() -> list[str]:
    """How the rows' names begin."""
    return [name for names in _GROUPS for name in names]


def measure(settings: Settings, machine: Machine, report: Report = lambda name: None, only: str = "") -> Iterator[Row]:
    """The rows whose name begins with ``only``, each as soon as it is known.

    Raises:
        Disagreement: when the two heads' numbers differ, before any time of them is given.
    """
    for names, rows in _GROUPS.items():
        if any(name.startswith(only) or only.startswith(name) for name in names):
            yield from (row for row in rows(settings, machine, report) if row.name.startswith(only))


# ---------------------------------------------------------------------------------------------------
# The head alone
# ---------------------------------------------------------------------------------------------------


def _head_rows(settings: Settings, machine: Machine, report: Report) -> Iterator[Row]:
    case, device = settings.case(), settings.device
    heads = theirs, ours = build_heads(settings.classes, device)
    report("losses and gradients are compared")
    differences = _text(agreement(case, theirs, ours))
    report("assignment")
    assign = (lambda: _their_assignment(case, theirs), lambda: _our_assignment(case, ours))
    yield _timed_row("assignment", assign, settings.runs, device)
    report("loss and backward")
    logits, distributions = (sum(level.nbytes for level in maps) for maps in (case.cls_scores, case.bbox_preds))
    elements = sum(level.numel() for level in case.cls_scores)
    # Class logits are read, and both gradients written; each class logit needs an exponential and a logarithm.
    floors = (machine.floor(2 * logits, 2 * elements), machine.floor(2 * logits + distributions, 2 * elements))
    pairs = [[_loss_and_backward(case, head, device) for head in heads] for _ in range(settings.runs + _WARM_UP)]
    for name, part, floor in (("loss", 0, floors[0]), ("loss + backward", 1, floors[1])):
        times = [(pair[0][part], pair[1][part]) for pair in pairs[_WARM_UP:]]
        yield _row(name, times, floor, differences)
    saved = [saved_bytes(case, head) / 1e6 for head in heads]
    yield Row("kept for backward", *saved, "MB", saved[0] / saved[1])


def _loss_and_backward(case: BenchmarkCase, head: nn.Module, device: str) -> tuple[float, float]:
    """Seconds of the loss, and of loss and backward."""
    maps = case.leaves()
    losses: list[Tensor] = []
    loss = seconds(lambda: losses.append(total(head.loss_by_feat(*maps, case.gt_instances, case.img_metas))), device)
    return loss, loss + seconds(losses[0].backward, device)


def _their_assignment(case: BenchmarkCase, head: nn.Module) -> None:
    """Everything from boxes to positives: anchors, flags, assignment and dense targets."""
    sizes = [level.shape[-2:] for level in case.cls_scores]
    anchors, flags = head.get_anchors(sizes, case.img_metas, device=case.cls_scores[0].device)
    head.get_targets(anchors, flags, case.gt_instances, case.img_metas)


def _our_assignment(case: BenchmarkCase, head: nn.Module) -> None:
    """The same way: grid, regions, flat objects, assignment and positives."""
    device = case.cls_scores[0].device
    grid = Grid.of(head.layout, [level.shape[-2:] for level in case.cls_scores], device)
    regions = ValidRegions.of(grid, case.img_metas)
    truths = GroundTruths.of(case.gt_instances, device)
    head.assigner.select(truths, grid, regions).positives(grid)


def saved_bytes(case: BenchmarkCase, head: nn.Module) -> int:
    """Bytes autograd keeps between loss and backward: each memory counted once, the logits themselves not."""
    maps = case.leaves()
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


def _prediction_rows(settings: Settings, machine: Machine, report: Report) -> Iterator[Row]:
    report("prediction")
    case, heads = settings.case().as_trained(settings.above), build_heads(settings.classes, settings.device)
    difference = f"{case.description.split(', ')[-1]}; {_text(detections_agree(case, *heads))}"
    given = dict(batch_img_metas=case.img_metas, rescale=True)
    runs = [functools.partial(head.predict_by_feat, case.cls_scores, case.bbox_preds, **given) for head in heads]
    floor = machine.floor(sum(level.nbytes for level in case.cls_scores))  # class logits are read
    yield _timed_row("predict_by_feat", runs, settings.runs, settings.device, floor, difference)


# ---------------------------------------------------------------------------------------------------
# Memory
# ---------------------------------------------------------------------------------------------------


def _memory_rows(settings: Settings, machine: Machine, report: Report) -> Iterator[Row]:
    """Each head in a process of its own, so that neither inherits what the other freed."""
    report("peak memory of a step")
    case, peaks = settings.case(), []
    for which in range(2):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            peaks.append(pool.apply(_peak_of_step, (settings, which, torch.get_num_threads())) / 1e6)
    gradients = sum(level.nbytes for maps in (case.cls_scores, case.bbox_preds) for level in maps) / 1e6
    yield Row("peak memory of a step", *peaks, "MB", peaks[0] / peaks[1], floor=gradients)


def _peak_of_step(settings: Settings, which: int, threads: int) -> float:
    """Bytes that loss and backward need beyond the logits, at their highest."""
    torch.set_num_threads(threads)
    head = build_heads(settings.classes, settings.device)[which]
    # What is compiled or imported on the way is not the step's; a small step first.
    small = settings.case(batch=1, short=160)
    total(head.loss_by_feat(*small.leaves(), small.gt_instances, small.img_metas)).backward()
    case = settings.case()
    maps = case.leaves()
    gc.collect()
    before = _memory_now(settings.device)
    total(head.loss_by_feat(*maps, case.gt_instances, case.img_metas)).backward()
    return _highest_memory(settings.device) - before


def _memory_now(device: str) -> float:
    """Bytes in use; the highest is counted from here on."""
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _highest_memory(device: str) -> float:
    return torch.cuda.max_memory_allocated(device) if torch.device(device).type == "cuda" else _status("VmHWM")


def _status(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * float(next(line for line in lines if line.startswith(field)).split()[1])


# ---------------------------------------------------------------------------------------------------
# Whole detectors
# ---------------------------------------------------------------------------------------------------


def _detector_rows(settings: Settings, machine: Machine, report: Report) -> Iterator[Row]:
    device = settings.device
    dtype = torch.bfloat16 if settings.low_precision else None
    place = f"{settings.step_batch}×{settings.step_size}²" + (", bf16" if dtype else "")
    scene = Scene.of(settings.case(batch=settings.step_batch, short=160), settings.step_size)
    for depth in (18, 50):
        report(f"training steps of ResNet-{depth}")
        detectors = build_detectors(depth, settings.classes, False, device)
        yield _training_row(f"training step, ResNet-{depth}, {place}", detectors, scene, settings, dtype)
        if depth == 50:
            report("head forward and images a second")
            features = detectors[0].extract_feat(scene.images)
            runs = [functools.partial(detector.bbox_head, features) for detector in detectors]
            yield _timed_row(f"head forward, {place}", runs, settings.step_runs, device)
            yield _test_row(f"test, ResNet-{depth}, {place}", detectors, scene, settings)
    report("training steps of the demo's model")
    scene = Scene.of(settings.case(batch=4, classes=10, short=160), 160)
    detectors = build_detectors(18, 10, True, device)
    yield _training_row("training step, the demo's model, 4×160²", detectors, scene, settings, None)


def _training_row(
    name: str, detectors: Sequence[nn.Module], scene: Scene, settings: Settings, dtype: torch.dtype | None
) -> Row:
    trainers = [Trainer(detector, scene, dtype) for detector in detectors]
    difference = f"losses {steps_agree(*trainers):.1e}"
    steps = [trainer.step for trainer in trainers]
    return _timed_row(name, steps, settings.step_runs, settings.device, agreement=difference)


def _test_row(name: str, detectors: Sequence[nn.Module], scene: Scene, settings: Settings) -> Row:
    let_through(detectors[0], scene, settings.above)
    detectors[1].load_state_dict(detectors[0].state_dict())
    with torch.no_grad():
        runs = [functools.partial(detector.eval().predict, scene.images, scene.samples) for detector in detectors]
        counts = [sum(len(sample.pred_instances) for sample in run()) for run in runs]
        if counts[0] != counts[1]:
            raise Disagreement(f"{counts[0]} detections there, {counts[1]} here")
        row = _timed_row(name, runs, settings.step_runs, settings.device)
    images = 1000 * len(scene.samples)
    difference = f"{counts[0]} detections each"
    rates = images / row.theirs, images / row.ours
    return Row(name, *rates, "images/s", row.ratio, row.low, row.high, agreement=difference)


# ---------------------------------------------------------------------------------------------------
# Pairs
# ---------------------------------------------------------------------------------------------------


def _timed_row(
    name: str,
    runs: Sequence[Callable[[], object]],
    count: int,
    device: str,
    floor: float | None = None,
    agreement: str = "",
) -> Row:
    """Theirs and ours in turn, A B A B."""
    times = [tuple(seconds(run, device) for run in runs) for _ in range(count + _WARM_UP)]
    return _row(name, times[_WARM_UP:], floor, agreement)


def _row(name: str, times: Sequence[tuple[float, float]], floor: float | None, agreement: str = "") -> Row:
    theirs, ours = zip(*times)
    ratios = [a / b for a, b in times]
    low, _, high = statistics.quantiles(ratios, n=4)
    medians = 1000 * statistics.median(theirs), 1000 * statistics.median(ours)
    floor = None if floor is None else 1000 * floor
    return Row(name, *medians, "ms", statistics.median(ratios), low, high, floor, agreement)


def _text(differences: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.1e}" for name, value in differences.items())


# Which rows come together, by the beginning of their names.
_GROUPS = {
    ("assignment", "loss", "loss + backward", "kept for backward"): _head_rows,
    ("peak memory of a step",): _memory_rows,
    ("predict_by_feat",): _prediction_rows,
    ("training step", "head forward", "test"): _detector_rows,
}
