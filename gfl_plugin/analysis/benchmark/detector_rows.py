"""Rows for whole detectors: training steps, the forward pass of the head, and test."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from .checks import Disagreement
from .detector import Scene, Trainer, build_detectors, raise_scores, steps_agree
from .machine_limits import MachineLimits
from .row import Row, timed_row
from .settings import Report, Settings


def detector_rows(settings: Settings, limits: MachineLimits, report: Report) -> Iterator[Row]:
    """Measure training steps, the forward pass of the head, and images per second at test time.

    Args:
        settings: settings of the benchmark.
        limits: limits of the machine.
        report: function that is called with the name of the current measurement.

    Yields:
        The rows.

    Raises:
        Disagreement: if the numbers of the two heads differ.
    """
    device = settings.device
    dtype = torch.bfloat16 if settings.low_precision else None
    place = f"{settings.step_batch}×{settings.step_size}²" + (", bf16" if dtype else "")
    scene = Scene.of(settings.case(batch=settings.step_batch, short=160), settings.step_size)
    for depth in (18, 50):
        report(f"training steps of ResNet-{depth}")
        detectors = build_detectors(depth, settings.classes, False, device)
        yield _training_row(f"training step, ResNet-{depth}, {place}", detectors, scene, settings, dtype)
        if depth == 50:
            report("head forward and images per second")
            features = detectors[0].extract_feat(scene.images)
            runs = [functools.partial(detector.bbox_head, features) for detector in detectors]
            yield timed_row(f"head forward, {place}", runs, settings.step_runs, device)
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
    return timed_row(name, steps, settings.step_runs, settings.device, agreement=difference)


def _test_row(name: str, detectors: Sequence[nn.Module], scene: Scene, settings: Settings) -> Row:
    raise_scores(detectors[0], scene, settings.above)
    detectors[1].load_state_dict(detectors[0].state_dict())
    with torch.no_grad():
        runs = [functools.partial(detector.eval().predict, scene.images, scene.samples) for detector in detectors]
        counts = [sum(len(sample.pred_instances) for sample in run()) for run in runs]
        if counts[0] != counts[1]:
            raise Disagreement(f"{counts[0]} detections with MMDetection, {counts[1]} with gfl_plugin")
        row = timed_row(name, runs, settings.step_runs, settings.device)
    images = 1000 * len(scene.samples)
    difference = f"{counts[0]} detections each"
    rates = images / row.theirs, images / row.ours
    return Row(name, *rates, "images/s", row.ratio, row.low, row.high, agreement=difference)
