"""Plot of targets, scores and gradients of class losses over a training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .training_curves import VariantCurves

_COLORS = 10  # of Matplotlib's cycle


def plot_class_loss(variants: Sequence[VariantCurves], path: Path) -> None:
    """Draw one line per variant in four panels.

    Args:
        variants: curves of the variants, in the order of the legend.
        path: PNG file to write.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7), layout="constrained", dpi=110)
    panels = figure.subplots(2, 2)
    for number, one in enumerate(variants):
        style = "-" if number < _COLORS else "--"
        positives, negatives = one.values["positives"], one.values["negatives"]
        lines = (one.values["target"], one.values["score"], positives, positives / (positives + negatives))
        for axes, line in zip(panels.flat, lines):
            axes.plot(one.steps, line, style, label=one.title, linewidth=1.4)
    titles = (
        "mean target of the positives",
        "mean score of the positives",
        "Σ |∂L/∂logit| over the positives",
        "share of the positives in Σ |∂L/∂logit|",
    )
    for axes, title in zip(panels.flat, titles):
        axes.set(title=title, xlabel="training step")
        axes.grid(alpha=0.3)
    panels[1, 0].set_yscale("log")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path)
