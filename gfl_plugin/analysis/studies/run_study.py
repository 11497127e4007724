"""Runs a study in its folder: prepares the data, trains what has no result, and leaves the results there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ..machine import available_cores
from ..progress import ProgressDisplay
from .plan import Run, plan_runs
from .results import RunResult, copy_results, find_results
from .run_display import RunDisplay
from .run_queue import train_runs
from .scale import Scale
from .study import Study
from .study_folder import check_disk_space, check_owner, locked, reserve


@dataclass(frozen=True)
class StudyPlace:
    """A study, at what scale it is run, and where."""

    study: Study
    scale: Scale
    scale_name: str
    seeds: tuple[int, ...]
    work_dir: Path  # of the study's runs
    data_root: Path  # for data that is made
    configs: Path  # the folder configs


@dataclass(frozen=True)
class StudyOutcome:
    """What a study has given so far."""

    runs: list[Run]
    results: dict[str, RunResult]  # of finished runs, by name
    failed: list[Run]


def read_study(place: StudyPlace) -> StudyOutcome:
    """The results that are there; nothing is written, and nothing is trained.

    Args:
        place: of the study.

    Raises:
        ValueError: where the folder belongs to another study, or a finished run had another config.
        FileNotFoundError: where data is missing that has to be there.
    """
    check_owner(place.work_dir, place.study.name, place.scale_name)
    runs = _runs(place)
    return StudyOutcome(runs, find_results(runs), [])


def run_study(place: StudyPlace, jobs: int | None, display: ProgressDisplay) -> StudyOutcome:
    """Train the runs without a result.

    Args:
        place: of the study.
        jobs: runs at the same time; None for one per GPU or, on a CPU, one per core.
        display: for progress.

    Raises:
        ValueError: where the folder belongs to another study, another process runs it, or a finished run had another
            config.
        FileNotFoundError: where data is missing that has to be there.
        FileExistsError: where the folder for data contains another data set.
        OSError: where the disk is too small.
    """
    place.scale.data.locate(place.data_root)  # raises before anything is written
    reserve(place.work_dir, place.study.name, place.scale_name)
    with locked(place.work_dir):
        with display.task("data set") as task:
            place.scale.data.prepare(
                place.data_root, lambda done, total: task.update("data set", completed=done, total=total)
            )
        runs = _runs(place)
        results = find_results(runs)
        copy_results(runs, results)
        missing = [run for run in runs if run.name not in results]
        display.print(f"study {place.study.name}: {len(runs)} runs, {len(results)} finished before")
        check_disk_space(missing, place.work_dir)
        failed = []
        if missing:
            jobs = jobs or min(torch.cuda.device_count() or available_cores(), len(missing))
            failed = train_runs(missing, jobs, RunDisplay(display, len(runs), len(results)))
        return StudyOutcome(runs, find_results(runs), failed)


def _runs(place: StudyPlace) -> list[Run]:
    data = place.scale.data.locate(place.data_root)
    return plan_runs(place.study, place.scale, list(place.seeds), place.work_dir, place.configs, data)
