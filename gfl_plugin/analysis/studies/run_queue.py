"""Trains runs in separate processes, several in parallel."""

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
    """Receives the changes of the state of each run."""

    def started(self, run: Run) -> None:
        """Called when the process of a run has started.

        Args:
            run: the run.
        """

    def advanced(self, run: Run, progress: TrainingProgress) -> None:
        """Called several times per second during the training of a run.

        Args:
            run: the run.
            progress: its last training step.
        """

    def finished(self, run: Run, result: RunResult) -> None:
        """Called when a run has succeeded.

        Args:
            run: the run.
            result: its figures.
        """

    def failed(self, run: Run, message: str) -> None:
        """Called when a run has failed; without a call of :meth:`started`, if its process could not be started.

        Args:
            run: the run.
            message: last line of its output, or why it could not be started or its result not be written.
        """


@dataclass(frozen=True)
class _Active:
    run: Run
    process: subprocess.Popen
    slot: int  # index among the parallel runs; it selects the GPU


def train_runs(runs: list[Run], jobs: int, watcher: Watcher) -> list[Run]:
    """Train runs and write their results; a failed run does not stop the others.

    A run also fails if its process cannot be started or its result cannot be written. An interrupt ends the processes;
    written results are kept.

    Args:
        runs: runs to train.
        jobs: number of parallel runs. It also sets the threads of each, so that they do not depend on the number of
            runs: other threads add in another order and take another time.
        watcher: receives the changes of the state of each run.

    Returns:
        The runs that failed.
    """
    pending, active, failed = deque(runs), [], []
    free_slots = list(range(jobs))

    def fail(run: Run, message: str) -> None:
        failed.append(run)
        watcher.failed(run, message)

    try:
        while pending or active:
            while pending and free_slots:
                run = pending.popleft()
                try:
                    active.append(_start(run, free_slots[0], jobs))
                except OSError as error:
                    fail(run, f"cannot be started: {error}")
                    continue
                del free_slots[0]
                watcher.started(run)
            time.sleep(_POLL_INTERVAL)
            for one in list(active):
                code = one.process.poll()
                if code is None:
                    if (progress := read_progress(one.run.folder)) is not None:
                        watcher.advanced(one.run, progress)
                    continue
                active.remove(one)
                free_slots.append(one.slot)
                if code != 0:
                    fail(one.run, _last_line(one.run, code))
                    continue
                try:
                    result = write_result(one.run)
                except OSError as error:
                    fail(one.run, f"its result cannot be written: {error}")
                else:
                    watcher.finished(one.run, result)
    finally:
        for one in active:
            one.process.kill()
            one.process.wait()
    return failed


def output_file(run: Run) -> Path:
    """The file with the output of the process of a run.

    Args:
        run: the run.

    Returns:
        The path of the file.
    """
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
    """Environment variables of a run: this copy of the package, a GPU, and an equal share of the CPU cores."""
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_PACKAGE), environment.get("PYTHONPATH")]))
    if torch.cuda.is_available():
        environment["CUDA_VISIBLE_DEVICES"] = _gpu(slot)
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        environment.setdefault(name, str(max(1, available_cores() // jobs)))
    return environment


def _gpu(slot: int) -> str:
    """Number or UUID of one of the GPUs that this process may use; it has at least one."""
    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    # CUDA ignores an entry without a GPU and all after it.
    names = list(map(str, range(count))) if visible is None else visible.split(",")[:count]
    return names[slot % len(names)].strip()


def _last_line(run: Run, code: int) -> str:
    try:
        output = output_file(run).read_text(errors="replace")
    except OSError as error:
        return f"exit status {code}; its output cannot be read: {error}"
    lines = [line for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else f"exit status {code} without output"
