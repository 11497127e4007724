"""Loss and backward as a function of the number of objects, the number of classes, the batch and the image size."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .checks import agreement, total
from .heads import build_heads
from .settings import Report, Settings
from .timing import seconds

_RUNS, _WARM_UP = 5, 1
_POINTS = {
    "objects per image": ("objects", (1, 10, 50, 100, 200, 500)),
    "classes": ("classes", (1, 20, 80, 365, 1203)),
    "batch": ("batch", (1, 2, 4, 8, 16, 32)),
    "shorter side, px": ("short", (320, 480, 640, 800, 1024)),
}


@dataclass(frozen=True)
class SweepPoint:
    """Medians of both heads for one value of one setting."""

    axis: str  # name of the setting
    value: int  # of the setting
    theirs: float  # milliseconds
    ours: float  # milliseconds
    ratio: float  # median of the pairs' ratios
    differences: dict[str, float]  # from checks.agreement


def sweep(settings: Settings, report: Report = lambda name: None) -> Iterator[SweepPoint]:
    """Measure loss and backward while one setting at a time is varied.

    Args:
        settings: settings of the benchmark.
        report: function that is called with the name of the current measurement.

    Yields:
        One point per value.

    Raises:
        Disagreement: if the numbers of the two heads differ at a point, before it is timed.
    """
    for axis, (name, values) in _POINTS.items():
        for value in values:
            report(f"{axis}: {value}")
            changes = {name: value}
            if name == "batch":
                changes["objects"] = 10  # drawn from all images, since the file may have fewer images than the batch
            case = settings.case(**changes)
            heads = build_heads(case.classes, settings.device)
            differences = agreement(case, *heads)

            def step(head, case=case) -> None:
                total(head.loss_by_feat(*case.leaves(), case.gt_instances, case.img_metas)).backward()

            times = [
                tuple(seconds(lambda head=head: step(head), settings.device) for head in heads)
                for _ in range(_RUNS + _WARM_UP)
            ][_WARM_UP:]
            theirs, ours = zip(*times)
            yield SweepPoint(
                axis,
                value,
                1000 * statistics.median(theirs),
                1000 * statistics.median(ours),
                statistics.median(a / b for a, b in times),
                differences,
            )


def plot(points: list[SweepPoint], title: str, file: Path) -> None:
    """Draw one panel per axis with both heads, on logarithmic scales.

    Args:
        points: results of :func:`sweep`.
        title: title of the figure.
        file: path of the picture.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(_POINTS), figsize=(4 * len(_POINTS), 3.8), sharey=True)
    for panel, axis in zip(panels, _POINTS):
        own = [point for point in points if point.axis == axis]
        values = [point.value for point in own]
        panel.plot(values, [point.theirs for point in own], "o-", color="#c0504d", label="MMDetection 3.3.0")
        panel.plot(values, [point.ours for point in own], "o-", color="#1f6fb4", label="gfl_plugin")
        for point in own:
            panel.annotate(f"{point.ratio:.0f}x", (point.value, point.ours), (0, -13), textcoords="offset points",
                           ha="center", fontsize=8, color="#1f6fb4")  # fmt: skip
        panel.set(xscale="log", yscale="log", xlabel=axis)
        panel.set_xticks(values, [str(value) for value in values], fontsize=8)
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("loss + backward, ms")
    panels[0].legend(loc="upper left", fontsize=8)
    low, high = panels[0].get_ylim()
    panels[0].set_ylim(low / 1.6, high * 1.6)
    figure.suptitle(title, fontsize=10)
    figure.tight_layout()
    figure.savefig(file, dpi=120)
    pyplot.close(figure)
