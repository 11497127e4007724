"""The first training step of a process loads compiled kernels from disk."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from cases import FIGURES

pytest.importorskip("numba")

ALLOWED = 0.5  # seconds
STEPS = """
import json, time
from cases import Recipe, losses_and_gradients, our_head, random_batch

head, batch = our_head(), random_batch(Recipe())
steps = []
for _ in range(9):
    wall, cpu = time.perf_counter(), time.process_time()
    losses_and_gradients(head, batch)
    steps.append((time.perf_counter() - wall, time.process_time() - cpu))
print(json.dumps(steps))
"""


def first_step(cache: Path, root: Path) -> tuple[float, float]:
    """Wall-clock and CPU seconds of a new process's first step minus the median of its later steps."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(root), str(root / "tests")]),
        "NUMBA_CACHE_DIR": str(cache),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", STEPS], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    first, *later = json.loads(done.stdout.splitlines()[-1])
    wall, cpu = (first[i] - statistics.median(step[i] for step in later) for i in range(2))
    return wall, cpu


def test_a_second_process_does_not_compile(tmp_path: Path, root: Path) -> None:
    """The first step compiles only in the first process.

    CPU seconds are compared, because wall-clock time also depends on other processes of the machine.
    """
    wall_before, before = first_step(tmp_path, root)
    wall, cpu = first_step(tmp_path, root)
    FIGURES["first training step, longer than later ones: without kernels on disk"] = (
        f"{wall_before:.2f} s ({before:.2f} s of CPU)"
    )
    FIGURES["first training step, longer than later ones: with kernels on disk"] = f"{wall:.2f} s ({cpu:.2f} s of CPU)"
    assert before > ALLOWED, "nothing was compiled, so this test measures nothing"
    assert cpu <= ALLOWED
