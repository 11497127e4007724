"""Plot of learned side distributions over the laws of the annotations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...demo.annotation_noise import LAWS
from .point_laws import PointLaws
from .recovery_rows import SIDES, law_points
from .trained_run import TrainedRun

_RANGE = (-50.0, 60.0)  # pixels
_CELL = 2.0  # pixels, of the histograms
_SINGLE = 6  # number of single detections
_HIGHEST = 0.15  # per pixel, end of the axis; the sharp law and its neighbours are higher


def plot_recovery(trained: Sequence[TrainedRun], path: Path) -> None:
    """Draw a column per side and a row per variant, of its first seed.

    Args:
        trained: runs of one study on one dataset.
        path: of the PNG.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    first: dict[str, TrainedRun] = {}
    for one in sorted(trained, key=lambda one: (one.run.variant.order, one.run.seed)):
        first.setdefault(one.run.variant.name, one)
    figure, axes = plt.subplots(
        len(first), len(SIDES), figsize=(13, 0.8 + 2.3 * len(first)), sharex=True, squeeze=False, layout="constrained"
    )
    for row, one in zip(axes, first.values()):
        for number, cell in enumerate(row):
            _draw(cell, one.noise[number], one.sides[number])
        row[0].set_ylabel(f"{one.run.variant.title}\nper pixel")
    for number, cell in enumerate(axes[0]):
        cell.set_title(f"{SIDES[number]}: {next(iter(first.values())).noise[number]}")
    for cell in axes[-1]:
        cell.set_xlabel("pixels outside the true side")
    axes[0][0].legend(loc="upper right", fontsize=8, frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw(axes, name: str, laws: PointLaws) -> None:
    """The law as a filled histogram, the average of the learned distributions, and some of single detections."""
    edges = np.arange(_RANGE[0], _RANGE[1] + _CELL, _CELL)
    if LAWS[name].std:
        axes.hist(law_points(name), edges, density=True, color="#c8c8c8", label="law of the annotations")
    else:
        axes.axvline(0, color="#c8c8c8", linewidth=4, label="law of the annotations")
    heights, _ = np.histogram(laws.values.ravel(), edges, weights=laws.weights.ravel())
    axes.stairs(heights / (len(laws) * _CELL), edges, color="#d62728", linewidth=1.6, label="learned, average")
    chosen = np.unique(np.linspace(0, len(laws) - 1, _SINGLE).round().astype(int))
    for count, number in enumerate(chosen):
        label = "learned, single detections" if count == 0 else None
        values, weights = laws.values[number], laws.weights[number]
        if np.ptp(values) == 0:  # a point
            axes.axvline(values[0], ymax=0.12, color="#1f77b4", linewidth=1, label=label)
        else:
            axes.plot(values, weights / np.gradient(values), color="#1f77b4", linewidth=0.7, alpha=0.8, label=label)
    axes.set_xlim(*_RANGE)
    axes.set_ylim(0, _HIGHEST)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
