"""The report of a study whose variants log their class loss: one plot, and its values as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from ...runtime.atomic_files import write_whole
from ..progress import ProgressDisplay
from ..studies.finished_run import FinishedRun
from .plot_class_loss import plot_class_loss
from .training_curves import Curves, mean_curves, read_curves

_NAME = "class_loss"


def report_class_loss(
    runs: Sequence[FinishedRun], console: Console, display: ProgressDisplay, folder: Path, about: dict[str, str]
) -> list[Path]:
    """Write the curves of trained variants.

    Args:
        runs: trained detectors; their configs have a ClassLossStatsHook.
        console: not used; the curves are a picture.
        display: not used; reading the logs takes no time.
        folder: folder of the files.
        about: origin of the figures: scale, command, machine, date.

    Returns:
        The paths of ``class_loss.json`` and ``class_loss.png``.

    Raises:
        ValueError: if a run has no such scalars.
    """
    by_title: dict[str, list[Curves]] = {}
    for run in runs:
        by_title.setdefault(run.variant.title, []).append(read_curves(run.config.parent))
    variants = [mean_curves(title, curves) for title, curves in by_title.items()]
    content = {
        **about,
        "curves": [
            {"variant": one.title, "steps": one.steps.tolist(), **{k: v.tolist() for k, v in one.values.items()}}
            for one in variants
        ],
    }
    numbers, picture = folder / f"{_NAME}.json", folder / f"{_NAME}.png"
    write_whole(numbers, json.dumps(content) + "\n")
    plot_class_loss(variants, picture)
    return [numbers, picture]
