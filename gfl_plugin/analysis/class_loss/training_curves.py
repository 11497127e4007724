"""Scalars of a class loss over a training, as MMEngine's LocalVisBackend has written them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

# Names in the log, by those of the curves.
SCALARS = {
    "target": "class_loss/target",
    "score": "class_loss/score",
    "positives": "class_loss/gradient_positives",
    "negatives": "class_loss/gradient_negatives",
}


@dataclass(frozen=True)
class Curves:
    """Curves of one training."""

    steps: np.ndarray  # (T,) training steps, ascending
    values: dict[str, np.ndarray]  # (T,) by the names of ``SCALARS``


@dataclass(frozen=True)
class VariantCurves:
    """Curves of one variant: the mean over its seeds."""

    title: str
    steps: np.ndarray  # (T,) training steps
    values: dict[str, np.ndarray]  # (T,) by the names of ``SCALARS``


def read_curves(folder: Path) -> Curves:
    """Read the curves of a run.

    Args:
        folder: work_dir of the run.

    Returns:
        The curves, at the steps that have all scalars.

    Raises:
        ValueError: if no step has them.
    """
    rows = {}
    for path in sorted(folder.glob("*/vis_data/scalars.json")):
        for line in path.read_text().splitlines():
            entry = json.loads(line)
            if all(name in entry for name in SCALARS.values()):
                rows[entry["step"]] = [entry[name] for name in SCALARS.values()]
    if not rows:
        raise ValueError(
            f"{folder} has no scalars {SCALARS['target']} in */vis_data/scalars.json; add "
            'dict(type="gfl_plugin.ClassLossStatsHook") to custom_hooks, and train again'
        )
    steps = sorted(rows)
    columns = np.array([rows[step] for step in steps], np.float64).T
    return Curves(np.array(steps), dict(zip(SCALARS, columns)))


def mean_curves(title: str, curves: Sequence[Curves]) -> VariantCurves:
    """Average the curves of several seeds over the steps that all of them have.

    Args:
        title: title of the variant.
        curves: at least one.

    Returns:
        The mean curves.
    """
    steps = sorted(set.intersection(*(set(one.steps.tolist()) for one in curves)))
    rows = [np.searchsorted(one.steps, steps) for one in curves]
    values = {
        name: np.mean([one.values[name][row] for one, row in zip(curves, rows)], axis=0) for name in curves[0].values
    }
    return VariantCurves(title, np.array(steps), values)
