"""Runs a study of wrong labels: data, trainings, and the judgement of each annotation by a detector of other images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import init_default_scope

from ..labelled_images import labelled_loader
from ..progress import ProgressDisplay
from ..report.detector_source import DetectorSubject
from ..report.examine import examine
from ..report.examined_image import Examination
from ..report.label_judgements import judge_labels
from ..studies.finished_run import FinishedRun
from ..studies.plan import Run
from ..studies.report_study import finished_runs
from ..studies.results import find_results
from ..studies.run_display import RunDisplay
from ..studies.run_queue import train_runs
from ..studies.run_study import StudyOutcome
from ..studies.study_folder import locked, reserve
from .fold_data import LabelledImage, WrongLabel, read_images, write_folds, wrong_labels
from .fold_runs import SCALE, base_config, fold_runs
from .label_figures import LabelFigures, label_figures
from .shifted_sides import ShiftLaw

NAME = "label_study"


@dataclass(frozen=True)
class LabelStudy:
    """Settings of a study."""

    folds: int
    seed: int  # of shifts, folds and training
    level: float  # of the margins
    work_dir: Path
    configs: Path  # the folder configs
    law: ShiftLaw = ShiftLaw()


def run_label_study(study: LabelStudy, data: Path, jobs: int, display: ProgressDisplay) -> LabelFigures | None:
    """Train the detectors that are not trained yet, and measure how well wrong labels are found.

    Args:
        study: its settings.
        data: folder of BCCD.
        jobs: number of parallel trainings.
        display: shows the progress.

    Returns:
        The figures; None if a training failed.

    Raises:
        ValueError: if there are fewer than two folds, the folder belongs to another study or another process runs it, a
            finished run had another config, or the detections are too few to calibrate margins.
    """
    if study.folds < 2:
        raise ValueError(f"--folds is {study.folds}; it must be at least 2")
    reserve(study.work_dir, NAME, SCALE)
    with locked(study.work_dir):
        return _figures(study, data, jobs, display)


def figures_of(examinations: Sequence[Examination], wrong: Sequence[WrongLabel], level: float) -> LabelFigures:
    """Judge all annotations, each by the detector of its fold.

    Args:
        examinations: one per fold.
        wrong: the wrong labels of all folds.
        level: of the margins.

    Returns:
        The figures.
    """
    everything = replace(examinations[0], images=tuple(image for one in examinations for image in one.images))
    return label_figures(everything, judge_labels(everything, level), wrong)


def _figures(study: LabelStudy, data: Path, jobs: int, display: ProgressDisplay) -> LabelFigures | None:
    base = base_config(study.configs, data)
    images, classes = _training_images(base)
    wrong = wrong_labels(images, study.law, study.seed)
    folder = study.work_dir / f"labels_{study.folds}_folds_seed_{study.seed}"
    files = write_folds(images, wrong, classes, study.folds, study.seed, folder)
    runs = fold_runs(base, files, images[0].path.parent, study.seed, folder, study.configs, data)
    trained = _trained(runs, jobs, display)
    if trained is None:
        return None
    return figures_of([_examination(run, folder, display) for run in trained], wrong, study.level)


def _training_images(base: Config) -> tuple[tuple[LabelledImage, ...], tuple[str, ...]]:
    """The images of the training split, and the names of the classes."""
    init_default_scope("mmdet")  # types in configs are names of MMDetection
    dataset = labelled_loader(base, "train").dataset
    return read_images(dataset), tuple(dataset.metainfo["classes"])


def _trained(runs: list[Run], jobs: int, display: ProgressDisplay) -> list[FinishedRun] | None:
    results = find_results(runs)
    missing = [run for run in runs if run.name not in results]
    if missing:
        watcher = RunDisplay(display, len(runs), len(results))
        failed = train_runs(missing, jobs, watcher)
        watcher.close()
        if failed:
            return None
    return finished_runs(StudyOutcome(runs, find_results(runs), []))


def _examination(run: FinishedRun, folder: Path, display: ProgressDisplay) -> Examination:
    cfg = Config.fromfile(run.config)
    return examine(
        DetectorSubject(run.variant.name, str(run.config), cfg, run.checkpoint, "val"), folder / "examined", display
    )
