"""Runs a study in its folder: prepares the data, trains the runs without a result, and writes the results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ..machine import available_cores
from ..progress import ProgressDisplay
from .plan import Run, plan_runs
from .rate_grid import RateChoice, choose_rates
from .results import RunResult, copy_results, find_results
from .run_display import RunDisplay
from .run_queue import train_runs
from .scale import Scale
from .study import Study
from .study_folder import check_disk_space, check_owner, locked, reserve


@dataclass(frozen=True)
class StudyPlace:
    """A study with its scale and its folders."""

    study: Study
    scale: Scale
    scale_name: str
    seeds: tuple[int, ...]
    work_dir: Path  # folder of the study's runs
    data_root: Path  # folder for generated data
    configs: Path  # the folder configs
    rates: tuple[float, ...] = ()  # learning rates from which one is chosen per variant; none for those of the configs


@dataclass(frozen=True)
class StudyOutcome:
    """Results of a study."""

    runs: list[Run]
    results: dict[str, RunResult]  # results of finished runs, by name
    failed: list[Run]
    # Learning rates by variant, if they are tuned. Runs and results are then those with the chosen rates.
    choices: dict[str, RateChoice] = field(default_factory=dict)


def read_study(place: StudyPlace) -> StudyOutcome:
    """Read the existing results of a study; no file is written, and no run is trained.

    Args:
        place: the study and its folders.

    Returns:
        The results.

    Raises:
        ValueError: if the folder belongs to another study, a finished run had another config, or learning rates are
            tuned and the validation split has no objects.
        FileNotFoundError: if data is missing that cannot be generated.
    """
    check_owner(place.work_dir, place.study.name, place.scale_name)
    return _stages(place, lambda runs: StudyOutcome(runs, find_results(runs), []))


def run_study(place: StudyPlace, jobs: int | None, display: ProgressDisplay) -> StudyOutcome:
    """Train the runs that have no result.

    If learning rates are tuned, all of them are trained with the first seed, and the others with the chosen rates.

    Args:
        place: the study and its folders.
        jobs: number of parallel runs, which share the cores; None for one per GPU or, on a CPU, one per core.
        display: display for progress.

    Returns:
        The results, including those of earlier runs.

    Raises:
        ValueError: if the folder belongs to another study, another process runs it, a finished run had another
            config, or learning rates are tuned and the validation split has no objects.
        FileNotFoundError: if data is missing that cannot be generated.
        FileExistsError: if the folder for data contains another dataset.
        OSError: if the disk has too little free space.
    """
    place.scale.data.locate(place.data_root)  # raises before files are written
    reserve(place.work_dir, place.study.name, place.scale_name)
    with locked(place.work_dir):
        with display.task("dataset") as task:
            place.scale.data.prepare(
                place.data_root, lambda done, total: task.update("dataset", completed=done, total=total)
            )
        return _stages(place, lambda runs: _train_missing(place, runs, jobs, display))


def _stages(place: StudyPlace, complete: Callable[[list[Run]], StudyOutcome]) -> StudyOutcome:
    """Complete the runs of a study: at once, or first those of all learning rates, then those of the chosen rates.

    A variant of which no rate has finished is left out of the second stage.
    """
    if not place.rates:
        return complete(_plan(place, place.seeds, None))
    grid = sorted(set(place.rates))
    tried = complete(_plan(place, [min(place.seeds)], {variant.name: grid for variant in place.study.variants}))
    choices = choose_rates(tried.runs, tried.results)
    if not choices:
        return tried
    final = complete(_plan(place, place.seeds, {name: [choice.rate] for name, choice in choices.items()}))
    return StudyOutcome(final.runs, final.results, [*tried.failed, *final.failed], choices)


def _train_missing(place: StudyPlace, runs: list[Run], jobs: int | None, display: ProgressDisplay) -> StudyOutcome:
    """Train the runs that have no result."""
    results = find_results(runs)
    copy_results(runs, results)
    missing = [run for run in runs if run.name not in results]
    display.print(f"study {place.study.name}: {len(runs)} runs, {len(results)} finished before")
    check_disk_space(missing, place.work_dir)
    failed = []
    if missing:
        # Not limited by the number of missing runs: those of a continued study have the same threads as the first ones.
        planned = len(place.study.variants) * len(place.seeds)
        jobs = jobs or min(torch.cuda.device_count() or available_cores(), planned)
        watcher = RunDisplay(display, len(runs), len(results))
        failed = train_runs(missing, jobs, watcher)
        watcher.close()
    return StudyOutcome(runs, find_results(runs), failed)


def _plan(place: StudyPlace, seeds: Sequence[int], rates: Mapping[str, Sequence[float]] | None) -> list[Run]:
    data = place.scale.data.locate(place.data_root)
    return plan_runs(place.study, place.scale, seeds, place.work_dir, place.configs, data, rates)
