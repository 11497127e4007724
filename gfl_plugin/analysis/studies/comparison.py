"""Compares the variants of a study over their seeds, with a paired t-test against the baseline."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan
from statistics import mean, median, stdev

from scipy.stats import ttest_rel

from ..tables import Column, Table
from .plan import Run
from .results import RunResult
from .study import Study, Variant


@dataclass(frozen=True)
class Difference:
    """AP of a variant minus AP of another variant, paired by seed."""

    against: str  # title of the other variant
    mean: float  # points of AP
    deviation: float | None  # standard deviation over the seeds of both variants; None for one seed
    p: float | None  # p-value of the two-sided paired t-test; None for one seed, or if all differences are equal


@dataclass(frozen=True)
class Row:
    """Figures of a variant over its seeds."""

    variant: Variant
    seeds: tuple[int, ...]  # seeds of finished runs
    planned: int  # number of seeds of the study
    values: dict[str, tuple[float, ...]]  # percent, for each metric of the study and each seed; NaN if a run has none
    parameters: int
    step_ms: float  # median over seeds
    difference: Difference | None


def compare(study: Study, runs: list[Run], results: dict[str, RunResult]) -> list[Row]:
    """Compute the rows of all variants with a finished run.

    Args:
        study: variants and metrics.
        runs: all runs of the study.
        results: results of finished runs, by :attr:`Run.name`.

    Returns:
        One row per variant with a finished run.

    Raises:
        ValueError: if no run is finished.
    """
    by_variant: dict[str, dict[int, RunResult]] = {variant.name: {} for variant in study.variants}
    for run in runs:
        if run.name in results:
            by_variant[run.variant.name][run.seed] = results[run.name]
    if not any(by_variant.values()):
        raise ValueError(f"no run of study {study.name} is finished in {runs[0].folder.parents[1]}; run it first")
    titles = {variant.name: variant.title for variant in study.variants}
    rows, planned = [], len({run.seed for run in runs})
    for variant in study.variants:
        own, other = by_variant[variant.name], by_variant.get(variant.against, {})
        if not own:
            continue
        shared = [seed for seed in own if seed in other]
        pair = ([one[seed].metrics["AP"] for seed in shared] for one in (own, other))
        rows.append(
            Row(
                variant=variant,
                seeds=tuple(own),
                planned=planned,
                values={
                    name: tuple(result.metrics.get(name, nan) for result in own.values()) for name in study.metrics
                },
                parameters=next(iter(own.values())).parameters,
                step_ms=median(result.step_ms for result in own.values()),
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


def comparison_table(study: Study, rows: list[Row]) -> Table:
    """Format the rows: title, mean ± standard deviation of each metric, parameters, ms/step, difference.

    Args:
        study: study whose metrics are the columns.
        rows: return value of :func:`compare`.

    Returns:
        The table.
    """
    headings = (*study.metrics, "parameters", "ms/step", "AP minus the baseline's (p)")
    columns = (Column("variant", numeric=False), *map(Column, headings))
    return Table(columns, tuple(map(_cells, rows)))


def _cells(row: Row) -> tuple[str, ...]:
    missing = "" if len(row.seeds) == row.planned else f" ({len(row.seeds)} of {row.planned} seeds)"
    return (
        row.variant.title + missing,
        *(_spread(values) for values in row.values.values()),
        f"{row.parameters:,}",
        f"{row.step_ms:.0f}",
        "" if row.difference is None else _difference_text(row.difference),
    )


def _spread(values: tuple[float, ...]) -> str:
    return f"{mean(values):.1f} ± {stdev(values):.1f}" if len(values) > 1 else f"{values[0]:.1f}"


def _difference_text(difference: Difference) -> str:
    text = f"{difference.mean:+.1f}"
    if difference.deviation is not None:
        text += f" ± {difference.deviation:.1f}"
    return text if difference.p is None else f"{text} ({difference.p:.2g})"
