"""Figures of the study of uncertainty: correlations and widths of each variant, over its seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from ...structures.calibration import STATEMENTS
from .correlation import error_correlations
from .run_sides import RunSides
from .spreads import NOTHING, candidate_spreads
from .widths import Width, interval_width

LEVELS = (0.8, 0.9, 0.95)


@dataclass(frozen=True)
class SpreadFigures:
    """One candidate for the spread of sides, for one variant; a value per seed in each tuple."""

    variant: str  # title
    spread: str  # name of the candidate
    seeds: tuple[int, ...]
    correlations: dict[str, tuple[float, ...]]  # see error_correlations
    widths: dict[str, dict[float, tuple[Width, ...]]]  # by statement and level
    narrower: dict[str, dict[float, tuple[float, ...]]]  # 1 - exact margin / that of NOTHING, same run


def spread_figures(
    runs: Sequence[RunSides], classes: tuple[str, ...], advance: Callable[[], None]
) -> list[SpreadFigures]:
    """Compute the figures of all variants.

    Args:
        runs: matched sides of each run.
        classes: names of the classes.
        advance: called after each run.

    Returns:
        One entry per variant and candidate, in the order of the runs.
    """
    collected: dict[tuple[str, str], list[tuple[int, dict, dict]]] = {}
    for run in runs:
        for name, figures in _of_run(run, classes).items():
            collected.setdefault((run.run.variant.title, name), []).append((run.run.seed, *figures))
        advance()
    return [_joined(*key, values, collected[key[0], NOTHING]) for key, values in collected.items()]


def _of_run(run: RunSides, classes: tuple[str, ...]) -> dict[str, tuple[dict, dict]]:
    """Correlations, and widths by statement and level, of each candidate."""
    tests = candidate_spreads(run.test, run.bins)
    both = [tuple(candidate_spreads(sides, run.bins) for sides in pair) for pair in run.pairs]
    return {
        name: (
            error_correlations(sides),
            {
                statement: {
                    level: interval_width([(a[name], b[name]) for a, b in both], level, statement, classes)
                    for level in LEVELS
                }
                for statement in STATEMENTS
            },
        )
        for name, sides in tests.items()
    }


def _joined(variant: str, spread: str, values: list[tuple], constant: list[tuple]) -> SpreadFigures:
    seeds, correlations, widths = zip(*values)
    reference = {seed: own for seed, _, own in constant}
    by_level = {
        statement: {level: tuple(own[statement][level] for own in widths) for level in LEVELS}
        for statement in STATEMENTS
    }
    return SpreadFigures(
        variant=variant,
        spread=spread,
        seeds=seeds,
        correlations={name: tuple(own[name] for own in correlations) for name in correlations[0]},
        widths=by_level,
        narrower={
            statement: {
                level: tuple(
                    1 - width.exact_margin / reference[seed][statement][level].exact_margin
                    for seed, width in zip(seeds, own)
                )
                for level, own in levels.items()
            }
            for statement, levels in by_level.items()
        },
    )


def spread_text(values: Sequence[float], digits: int, factor: float = 1.0) -> str:
    """Format values of several seeds.

    Args:
        values: one per seed.
        digits: after the point.
        factor: by which they are multiplied.

    Returns:
        Their mean, and their standard deviation if there are several.
    """
    scaled = [factor * value for value in values]
    text = f"{mean(scaled):.{digits}f}"
    return text if len(scaled) < 2 else f"{text} ± {stdev(scaled):.{digits}f}"
