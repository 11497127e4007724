"""Trains runs in processes of their own, several at the same time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from ..machine import available_cores
from .plan import Run
from .results import RunResult, write_result
from .training_progress import TrainingProgress, read_progress

_PACKAGE = Path(__file__).resolve().parents[3]  # the folder that contains gfl_plugin
_POLL_INTERVAL = 0.2  # seconds


class Watcher(Protocol):
    """Is called when the state of a run changes."""

    def started(self, run: Run) -> None:
        """The process of a run has started."""

    def advanced(self, run: Run, progress: TrainingProgress) -> None:
        """A run in training; called several times per second."""

    def finished(self, run: Run, result: RunResult) -> None:
        """A run has ended well."""

    def failed(self, run: Run, message: str) -> None:
        """A run has ended with an error, whose last line is ``message``."""


@dataclass(frozen=True)
class _Active:
    run: Run
    process: subprocess.Popen
    slot: int  # index among the runs at the same time; it selects the GPU


def train_runs(runs: list[Run], jobs: int, watcher: Watcher) -> list[Run]:
    """Train runs and write their results; a failed run does not stop the others.

    An interrupt ends the processes; results that are written stay.

    Args:
        runs: to be trained.
        jobs: how many at the same time.
        watcher: is called when the state of a run changes.

    Returns:
        The runs that failed.
    """
    pending, active, failed = deque(runs), [], []
    free_slots = list(range(jobs))
    try:
        while pending or active:
            while pending and free_slots:
                active.append(_start(pending.popleft(), free_slots.pop(0), jobs))
                watcher.started(active[-1].run)
            time.sleep(_POLL_INTERVAL)
            for one in list(active):
                code = one.process.poll()
                if code is None:
                    if (progress := read_progress(one.run.folder)) is not None:
                        watcher.advanced(one.run, progress)
                    continue
                active.remove(one)
                free_slots.append(one.slot)
                if code == 0:
                    watcher.finished(one.run, write_result(one.run))
                else:
                    failed.append(one.run)
                    watcher.failed(one.run, _last_line(one.run, code))
    finally:
        for one in active:
            one.process.kill()
            one.process.wait()
    return failed


def output_file(run: Run) -> Path:
    """The file with everything that the process of a run prints."""
    return run.folder / "output.txt"


def _start(run: Run, slot: int, jobs: int) -> _Active:
    if run.folder.exists():  # an earlier attempt that did not finish
        shutil.rmtree(run.folder)
    run.folder.mkdir(parents=True)
    run.config.dump(run.folder / "config.py")
    with open(output_file(run), "w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gfl_plugin.analysis.studies.train_run", str(run.folder)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=_environment(slot, jobs),
        )
    return _Active(run, process, slot)


def _environment(slot: int, jobs: int) -> dict[str, str]:
    """Environment of a run: this copy of the package, a GPU, and an equal part of the CPU cores."""
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_PACKAGE), environment.get("PYTHONPATH")]))
    if torch.cuda.is_available():
        environment.setdefault("CUDA_VISIBLE_DEVICES", str(slot % torch.cuda.device_count()))
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        environment.setdefault(name, str(max(1, available_cores() // jobs)))
    return environment


def _last_line(run: Run, code: int) -> str:
    lines = [line for line in output_file(run).read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else f"exit status {code}, without any output"
