"""Settings of the benchmark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .case import BenchmarkCase

Report = Callable[[str], None]  # is called with the name of the current measurement


@dataclass(frozen=True)
class Settings:
    """Settings that all rows share."""

    boxes: Path  # see BenchmarkCase.coco
    batch: int = 8  # images
    classes: int = 80
    first: int = 0  # index of the first landscape image
    runs: int = 11  # counted pairs
    device: str = "cpu"
    above: int = 1000  # scores per image above the threshold at test time
    step_batch: int = 2  # images of a whole training step
    step_size: int = 320  # side of these images, pixels
    step_runs: int = 7  # counted pairs of whole steps
    low_precision: bool = False  # whole steps under bf16 autocast

    def case(self, **changes: object) -> BenchmarkCase:
        """Create the inputs of the heads.

        Args:
            **changes: arguments of :meth:`BenchmarkCase.coco` that replace these settings.

        Returns:
            The inputs.
        """
        given = dict(batch=self.batch, classes=self.classes, first=self.first, device=self.device)
        return BenchmarkCase.coco(self.boxes, **{**given, **changes})
