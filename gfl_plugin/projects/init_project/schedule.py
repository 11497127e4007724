"""Chooses a training schedule for a number of images."""

from __future__ import annotations

import math
from dataclasses import dataclass

BATCH = 4
_ITERATIONS = {True: 2000, False: 4000}  # with pretrained weights or from scratch
_FEWEST, _MOST = 12, 300  # epochs; 12 are MMDetection's 1x schedule
_VALIDATIONS = 10
_RATE, _RATE_BATCH = 0.01, 16  # MMDetection's learning rate for GFL, and its images per step
_WARM_UP = 500  # iterations, as in MMDetection's schedules


@dataclass(frozen=True)
class Schedule:
    """Settings of a training."""

    epochs: int
    learning_rate: float
    warm_up: int  # iterations
    val_interval: int  # epochs
    batch: int  # images per step
    reason: str  # one sentence


def schedule_for(images: int, pretrained: bool, small: bool) -> Schedule:
    """Choose a schedule.

    Few images need many epochs for the same number of steps; 12 epochs are enough for many images.

    Args:
        images: of the training set.
        pretrained: whether the backbone has pretrained weights.
        small: whether the detector is the small one for a CPU.

    Returns:
        The schedule.
    """
    per_epoch = math.ceil(images / BATCH)
    epochs = min(_MOST, max(_FEWEST, math.ceil(_ITERATIONS[pretrained] / per_epoch)))
    steps = epochs * per_epoch
    # 0.02 for 4 images is that of this package's configs for the small detector.
    rate = 0.02 if small else _RATE * BATCH / _RATE_BATCH if pretrained else _RATE
    reason = f"{images} images / {BATCH} per step = {per_epoch} steps per epoch; {epochs} epochs are {steps} steps"
    return Schedule(epochs, rate, min(_WARM_UP, max(1, steps // 10)), max(1, epochs // _VALIDATIONS), BATCH, reason)
