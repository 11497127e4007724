"""A study's results: one row a variant, over its seeds, as Markdown, JSON and a plot."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median, stdev

from scipy.stats import ttest_rel

from .plan import Run
from .run import THRESHOLDS
from .study import Study, Variant


@dataclass(frozen=True)
class Difference:
    """A variant's AP less another's, seed by seed."""

    against: str  # the other's title
    mean: float  # points of AP
    deviation: float | None  # over the seeds that both have; None for one seed
    p: float | None  # two-sided paired t-test; None where there are no two different seeds


@dataclass(frozen=True)
class Row:
    """A variant's figures over its seeds."""

    variant: Variant
    seeds: tuple[int, ...]  # those that are finished
    planned: int  # number of seeds that were asked for
    values: dict[str, tuple[float, ...]]  # percent, one a seed, for each of run.THRESHOLDS
    parameters: int
    step_ms: float  # median over seeds
    difference: Difference | None


def rows_of(study: Study, runs: list[Run]) -> list[Row]:
    """The rows of all variants with a finished run.

    Raises:
        ValueError: where no run is finished.
    """
    results = {(run.variant.name, run.seed): run.result for run in runs if run.result}
    if not results:
        raise ValueError(f"no run of study {study.name} is finished in {runs[0].folder.parents[1]}; run it first")
    titles = {variant.name: variant.title for variant in study.variants}
    rows, planned = [], len({run.seed for run in runs})
    for variant in study.variants:
        own = {seed: result for (name, seed), result in results.items() if name == variant.name}
        if not own:
            continue
        other = {seed: result for (name, seed), result in results.items() if name == variant.against}
        shared = [seed for seed in own if seed in other]
        pair = ([own[seed]["AP"] for seed in shared], [other[seed]["AP"] for seed in shared])
        rows.append(
            Row(
                variant=variant,
                seeds=tuple(own),
                planned=planned,
                values={name: tuple(result[name] for result in own.values()) for name in THRESHOLDS},
                parameters=next(iter(own.values()))["parameters"],
                step_ms=median(result["step_ms"] for result in own.values()),
                difference=_difference(titles[variant.against], *pair) if shared else None,
            )
        )
    return rows


def _difference(against: str, own: list[float], other: list[float]) -> Difference:
    differences = [a - b for a, b in zip(own, other)]
    if len(differences) < 2:
        return Difference(against, differences[0], None, None)
    deviation = stdev(differences)
    return Difference(against, mean(differences), deviation, float(ttest_rel(own, other).pvalue) if deviation else None)


def cells(row: Row) -> list[str]:
    """A row as text: title, APs, parameters, milliseconds a step, difference."""
    missing = "" if len(row.seeds) == row.planned else f" ({len(row.seeds)} of {row.planned} seeds)"
    return [
        row.variant.title + missing,
        *(_spread(values) for values in row.values.values()),
        f"{row.parameters:,}",
        f"{row.step_ms:.0f}",
        "" if row.difference is None else _difference_text(row.difference),
    ]


HEADINGS = ("variant", *THRESHOLDS, "parameters", "ms a step", "AP less the baseline's (p)")


def _spread(values: tuple[float, ...]) -> str:
    return f"{mean(values):.1f} ± {stdev(values):.1f}" if len(values) > 1 else f"{values[0]:.1f}"


def _difference_text(difference: Difference) -> str:
    text = f"{difference.mean:+.1f}"
    if difference.deviation is not None:
        text += f" ± {difference.deviation:.1f}"
    return text if difference.p is None else f"{text} ({difference.p:.2g})"


def markdown(rows: list[Row]) -> str:
    """The table."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "|" + "---|" * len(HEADINGS)]
    return "\n".join(lines + ["| " + " | ".join(cells(row)) + " |" for row in rows]) + "\n"


def save(study: Study, rows: list[Row], about: dict, folder: Path) -> list[Path]:
    """Write ``<study>.md``, ``.json`` and ``.png`` into a folder.

    Args:
        study: the study.
        rows: from :func:`rows_of`.
        about: how the figures came about: command, machine, date.
        folder: made where it does not exist.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{study.name}.{kind}" for kind in ("md", "json", "png")]
    seeds = sorted({seed for row in rows for seed in row.seeds})
    text = "; ".join(f"{key}: {f'`{value}`' if key == 'command' else value}" for key, value in about.items())
    files[0].write_text(f"# {study.name}\n\n{text}; seeds: {', '.join(map(str, seeds))}.\n\n{markdown(rows)}")
    content = [
        {
            "variant": row.variant.name,
            "title": row.variant.title,
            "seeds": row.seeds,
            **row.values,
            "parameters": row.parameters,
            "step_ms": row.step_ms,
            "difference": row.difference and asdict(row.difference),
        }
        for row in rows
    ]
    files[1].write_text(json.dumps({"study": study.name, **about, "rows": content}, indent=2) + "\n")
    plot(study, rows, files[2])
    return files


def plot(study: Study, rows: list[Row], path: Path) -> None:
    """AP of each variant: a dot a seed, a bar at their mean."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 0.9 + 0.45 * len(rows)), layout="constrained")
    for place, row in enumerate(rows):
        values = row.values["AP"]
        baseline = row.variant.against is None
        axes.plot(values, [place] * len(values), "o", color="#1f77b4", alpha=0.6, markersize=7, markeredgewidth=0)
        axes.plot([mean(values)] * 2, [place - 0.3, place + 0.3], color="black", linewidth=2)
        if baseline and len([r for r in rows if r.variant.against is None]) == 1:
            axes.axvline(mean(values), color="grey", linewidth=0.8, linestyle="--", zorder=0)
    axes.set_yticks(range(len(rows)), [row.variant.title for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("AP (a dot a seed, a bar their mean)")
    axes.set_title(study.name, loc="left")
    axes.grid(axis="x", alpha=0.3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
