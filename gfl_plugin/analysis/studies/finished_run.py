"""A trained detector of a study, for analyses that look into it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .study import Variant


@dataclass(frozen=True)
class FinishedRun:
    """A run whose training has finished."""

    variant: Variant
    seed: int
    config: Path  # config.py of the run
    checkpoint: Path  # its last weights
