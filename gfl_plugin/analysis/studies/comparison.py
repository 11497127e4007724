"""Compares the variants of a study over their seeds, with a paired t-test against the baseline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import mean, median, stdev

from scipy.stats import ttest_rel

from ..tables import Column, Table
from .plan import Run
from .rate_grid import RateChoice
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
    # Percent, for each metric of the study and each seed; None for a run without it: ρ without detections.
    values: dict[str, tuple[float | None, ...]]
    # Percent, for each seed; None if values are those of the validation split.
    validation_ap: tuple[float | None, ...] | None
    parameters: int
    step_ms: float  # median over seeds
    difference: Difference | None
    choice: RateChoice | None = None  # if learning rates are tuned


def known_values(values: Iterable[float | None]) -> list[float]:
    """Leave out the runs without a metric.

    Args:
        values: of a metric, for each run; None for a run without it.

    Returns:
        The values that are not None.
    """
    return [value for value in values if value is not None]


def compares_test_splits(results: Iterable[RunResult]) -> bool:
    """Whether the rows of results show the test split, and not the validation split.

    Args:
        results: results of finished runs.

    Returns:
        True if all runs have been tested on a test split, which runs of older versions have not.
    """
    return all(result.tested for result in results)


def compare(
    study: Study, runs: list[Run], results: dict[str, RunResult], choices: Mapping[str, RateChoice] | None = None
) -> list[Row]:
    """Compute the rows of all variants with a finished run.

    Args:
        study: variants and metrics.
        runs: all runs of the study; one per variant and seed.
        results: results of finished runs, by :attr:`Run.name`.
        choices: learning rates of the variants, if they are tuned.

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
        raise ValueError(f"no run of study {study.name} is finished in {runs[0].work_dir}; run it first")
    tested = compares_test_splits(result for seeds in by_variant.values() for result in seeds.values())
    titles = {variant.name: variant.title for variant in study.variants}
    rows, planned = [], len({run.seed for run in runs})
    for variant in study.variants:
        own, other = by_variant[variant.name], by_variant.get(variant.against, {})
        if not own:
            continue
        shown, baseline = ({seed: _shown(one[seed], tested) for seed in one} for one in (own, other))
        shared = [seed for seed in shown if "AP" in shown[seed] and "AP" in baseline.get(seed, {})]
        pair = ([one[seed]["AP"] for seed in shared] for one in (shown, baseline))
        rows.append(
            Row(
                variant=variant,
                seeds=tuple(own),
                planned=planned,
                values={name: tuple(one.get(name) for one in shown.values()) for name in study.metrics},
                validation_ap=tuple(result.validation.get("AP") for result in own.values()) if tested else None,
                parameters=next(iter(own.values())).parameters,
                step_ms=median(result.step_ms for result in own.values()),
                difference=_difference(titles[variant.against], *pair) if shared else None,
                choice=(choices or {}).get(variant.name),
            )
        )
    return rows


def _shown(result: RunResult, tested: bool) -> dict[str, float]:
    return result.metrics if tested else result.validation


def _difference(against: str, own: list[float], other: list[float]) -> Difference:
    differences = [a - b for a, b in zip(own, other)]
    if len(differences) < 2:
        return Difference(against, differences[0], None, None)
    deviation = stdev(differences)
    return Difference(against, mean(differences), deviation, float(ttest_rel(own, other).pvalue) if deviation else None)


def comparison_table(study: Study, rows: list[Row]) -> Table:
    """Format the rows: title, mean ± standard deviation of each metric, parameters, ms/step, difference.

    A metric that some runs do not have is that of the others, with their number; "–" if no run has it. Tables of a test
    split also have the AP on the validation split, and those of tuned learning rates the chosen rate.

    Args:
        study: study whose metrics are the columns.
        rows: return value of :func:`compare`.

    Returns:
        The table.
    """
    rates = ("learning rate",) if any(row.choice is not None for row in rows) else ()
    validation = ("AP (val)",) if any(row.validation_ap is not None for row in rows) else ()
    headings = (*rates, *study.metrics, *validation, "parameters", "ms/step", "AP minus the baseline's (p)")
    columns = (Column("variant", numeric=False), *map(Column, headings))
    return Table(columns, tuple(map(_cells, rows)))


def _cells(row: Row) -> tuple[str, ...]:
    """The cells of a row. All rows of a table have a chosen rate, or none has one; the same holds for validation AP."""
    missing = "" if len(row.seeds) == row.planned else f" ({len(row.seeds)} of {row.planned} seeds)"
    return (
        row.variant.title + missing,
        *(() if row.choice is None else (_rate_text(row.choice),)),
        *(_spread(values) for values in row.values.values()),
        *(() if row.validation_ap is None else (_spread(row.validation_ap),)),
        f"{row.parameters:,}",
        f"{row.step_ms:.0f}",
        "" if row.difference is None else _difference_text(row.difference),
    )


def _rate_text(choice: RateChoice) -> str:
    remarks = ["border of the grid"] if choice.at_border else []
    if len(choice.validation_ap) < len(choice.grid):
        remarks.append(f"{len(choice.validation_ap)} of {len(choice.grid)} rates")
    return f"{choice.rate} ({', '.join(remarks)})" if remarks else str(choice.rate)


def _spread(values: tuple[float | None, ...]) -> str:
    known = known_values(values)
    if not known:
        return "–"
    text = f"{mean(known):.1f} ± {stdev(known):.1f}" if len(known) > 1 else f"{known[0]:.1f}"
    return text if len(known) == len(values) else f"{text} ({len(known)} of {len(values)} seeds)"


def _difference_text(difference: Difference) -> str:
    text = f"{difference.mean:+.1f}"
    if difference.deviation is not None:
        text += f" ± {difference.deviation:.1f}"
    return text if difference.p is None else f"{text} ({difference.p:.2g})"
