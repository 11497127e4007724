"""Learning rates of a study: each variant tries all rates of a grid, and keeps the one with the best validation AP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .plan import Run
from .results import RunResult


@dataclass(frozen=True)
class RateChoice:
    """The learning rate of a variant."""

    rate: float
    grid: tuple[float, ...]  # all rates that are tried, ascending
    validation_ap: dict[float, float]  # percent, for each rate whose run is finished

    @property
    def at_border(self) -> bool:
        """Whether the rate is the smallest or the largest of several, so that a better one may lie outside."""
        return len(self.grid) > 1 and self.rate in (self.grid[0], self.grid[-1])


def choose_rates(runs: Sequence[Run], results: dict[str, RunResult]) -> dict[str, RateChoice]:
    """Choose a learning rate for each variant; the smallest one of those with equal AP.

    Args:
        runs: one run for each variant and rate.
        results: results of finished runs, by :attr:`Run.name`.

    Returns:
        The choices, by the names of the variants. A variant without a finished run is left out.

    Raises:
        ValueError: if the validation split has no objects, so that no rate is better than another.
    """
    choices = {}
    for name in dict.fromkeys(run.variant.name for run in runs):
        own = sorted((run for run in runs if run.variant.name == name), key=lambda run: run.rate)
        finished = [run for run in own if run.name in results]
        for run in finished:
            if "AP" not in results[run.name].validation:
                raise ValueError(
                    f"{run.name} has no AP on the validation split, because that split has no objects; learning rates "
                    "are compared by it: add objects to the split, or omit --lr"
                )
        aps = {run.rate: results[run.name].validation["AP"] for run in finished}
        if aps:
            choices[name] = RateChoice(max(aps, key=aps.get), tuple(run.rate for run in own), aps)
    return choices
