"""Runs in processes of their own, some at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass
from typing import Protocol

import torch

from .plan import Run, cores, finish, prepare


class Watcher(Protocol):
    """Is told what happens."""

    def started(self, run: Run) -> None: ...

    def advanced(self, run: Run, progress: dict) -> None:
        """``progress`` has step, steps, epoch and epochs."""

    def ended(self, run: Run, failure: str | None) -> None:
        """``failure`` is what the run last said, where it failed."""


@dataclass
class _Active:
    run: Run
    process: subprocess.Popen
    slot: int


def run_all(runs: list[Run], jobs: int, watcher: Watcher) -> list[Run]:
    """Run them, ``jobs`` at a time, and return those that failed; one that fails stops no other.

    An interrupt ends the processes under way; what is done stays done.
    """
    pending, active, failed = deque(runs), [], []
    free = list(range(jobs))
    try:
        while pending or active:
            while pending and free:
                active.append(_start(pending.popleft(), free.pop(0), jobs, watcher))
            time.sleep(0.2)
            for one in list(active):
                if one.process.poll() is None:
                    _tell(one.run, watcher)
                    continue
                active.remove(one)
                free.append(one.slot)
                if one.process.returncode == 0:
                    finish(one.run)
                    watcher.ended(one.run, None)
                else:
                    failed.append(one.run)
                    watcher.ended(one.run, _last_words(one.run, one.process.returncode))
    finally:
        for one in active:
            one.process.kill()
            one.process.wait()
    return failed


def _start(run: Run, slot: int, jobs: int, watcher: Watcher) -> _Active:
    prepare(run)
    environment = dict(os.environ)
    if torch.cuda.is_available():
        environment.setdefault("CUDA_VISIBLE_DEVICES", str(slot % torch.cuda.device_count()))
    threads = str(max(1, len(cores()) // jobs))
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        environment.setdefault(name, threads)
    with open(run.folder / "output.txt", "w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gfl_plugin.analysis.studies.run", str(run.folder)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
        )
    watcher.started(run)
    return _Active(run, process, slot)


def _tell(run: Run, watcher: Watcher) -> None:
    path = run.folder / "progress.json"
    if path.exists():
        watcher.advanced(run, json.loads(path.read_text()))


def _last_words(run: Run, code: int) -> str:
    lines = [line for line in (run.folder / "output.txt").read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else f"exit status {code}, without a word"
