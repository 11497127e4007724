"""A finished run of a study, as the analyses that follow the training get it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .study import Variant


@dataclass(frozen=True)
class FinishedRun:
    """A trained variant of a study with one seed."""

    variant: Variant
    seed: int
    config: Path  # the config that was trained
    checkpoint: Path  # its last weights
