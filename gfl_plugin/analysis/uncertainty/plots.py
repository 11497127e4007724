"""The plot of the study of uncertainty: errors by predicted spread, and margins by coverage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...structures.calibration import STD
from ..calibration.fit import side_scores
from .run_sides import RunSides
from .spreads import BOX_SIZE, NOTHING, SIGMA, candidate_spreads

_BINS = 12  # of equal numbers of sides
_COLORS = ("#1f77b4", "#d62728", "#7f7f7f", "#2ca02c")
_STYLES = {SIGMA: "-", BOX_SIZE: ":", NOTHING: "--"}


def plot_uncertainty(runs: Sequence[RunSides], path: Path) -> None:
    """Draw errors against predicted spreads, and margins against coverage.

    Args:
        runs: matched sides of each run; seeds of a variant are pooled.
        path: PNG file.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    variants = list(dict.fromkeys(run.run.variant.title for run in runs))
    for variant, color in zip(variants, _COLORS):
        own = [run for run in runs if run.run.variant.title == variant]
        if all((candidates := candidate_spreads(run.test, None)) and SIGMA in candidates for run in own):
            _errors(left, own, variant, color)
        for spread, style in _STYLES.items():
            _margins(right, own, variant, spread, color, style)
    limit = left.get_xlim()[1]
    left.plot([0, limit], [0, limit], color="grey", linewidth=0.8, zorder=0)
    left.annotate("RMS error = σ", (0.03, 0.95), xycoords="axes fraction", color="grey", fontsize=9)
    left.set(xlabel="predicted σ, px", ylabel="RMS error of the side, px", title="Errors of sides by predicted σ")
    right.set(xlabel="boxes with all four sides covered, %", ylabel="mean margin, px", title="Margins by coverage")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=8)
        axes.set_ylim(bottom=0)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _errors(axes, runs: Sequence[RunSides], variant: str, color: str) -> None:
    spread = np.concatenate([run.test.std.ravel() for run in runs])
    error = np.concatenate([run.test.errors.ravel() for run in runs])
    parts = np.array_split(np.argsort(spread), _BINS)
    x = [spread[part].mean() for part in parts]
    y = [np.sqrt((error[part] ** 2).mean()) for part in parts]
    axes.plot(x, y, "o-", color=color, label=variant, markersize=4)


def _margins(axes, runs: Sequence[RunSides], variant: str, spread: str, color: str, style: str) -> None:
    """Mean over runs of the mean margin that covers each share of the boxes."""
    shares = np.linspace(0.5, 0.98, 49)
    curves = []
    for run in runs:
        sides = candidate_spreads(run.test, None).get(spread)
        if sides is None:
            return
        quantiles = np.quantile(side_scores(sides, STD).max(axis=1), shares)
        curves.append(quantiles * sides.std.mean())
    axes.plot(100 * shares, np.mean(curves, axis=0), style, color=color, label=f"{variant}: {spread}", linewidth=1.5)
