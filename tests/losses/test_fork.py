"""Losses in forked processes: workers of a DataLoader, a pool, children of children.

This file, run as a program once per number of threads, forks the processes and prints their results.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from multiprocessing.connection import wait
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    pytest.mark.skipif(not importlib.util.find_spec("numba"), reason="numba is not installed"),
]

TESTS = Path(__file__).resolve().parents[1]
MARK = "results: "
DEADLINE = 30  # seconds per child; a child that compiles takes three
SHORTER = 15  # seconds per process that a child starts

ONE_THREAD = (
    "child before the first loss",
    "child",
    "child of a child",
    "child with two threads",
    "child of a child with two threads",
    "whole head",
    "data loader",
    "pool",
)
TWO_THREADS = (
    "child before the first loss",
    "child",
    "child of a child",
    "child with one thread",
    "data loader",
    "pool",
)


# ---------------------------------------------------------------------------------------------------
# Tests
# ---------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=2)  # the program runs once, not once per test
def output(threads: int) -> str:
    """What the program printed, its errors included."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])}
    command = [sys.executable, "-W", "ignore", __file__, str(threads)]
    with tempfile.TemporaryFile("w+") as file:  # a pipe would stay open as long as any child lives
        try:
            subprocess.run(command, env=environment, stdout=file, stderr=subprocess.STDOUT, timeout=8 * DEADLINE)
        except subprocess.TimeoutExpired as error:
            file.write(str(error))
        file.seek(0)
        return file.read()


def report(threads: int) -> dict:
    """The results that are part of the output."""
    text = output(threads)
    results = [line for line in text.splitlines() if line.startswith(MARK)]
    assert results, text[-3000:]
    return json.loads(results[-1][len(MARK) :])


@pytest.mark.parametrize("name", ONE_THREAD)
def test_parent_of_one_thread(name: str) -> None:
    """Children of a process with one thread return its results bit for bit, also if they use two threads."""
    assert_equal(report(1), name)


@pytest.mark.parametrize("name", TWO_THREADS)
def test_parent_of_two_threads(name: str) -> None:
    """Children of a process with two threads cannot use threads, but return the same results."""
    assert_equal(report(2), name)


def test_with_one_thread_numba_starts_no_threads() -> None:
    """The loss does not start Numba's threads and does not change PyTorch's number of threads."""
    assert report(1)["numba has threads"] is False
    assert report(1)["threads of PyTorch"] == 1


def test_two_threads_are_used() -> None:
    """With two threads the parallel kernel runs on Numba's threads."""
    assert report(2)["numba has threads"] is True
    assert report(2)["threads of PyTorch"] == 2


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("beta", [1.5, 2.0])
@pytest.mark.parametrize("gradient", [False, True])
def test_serial_and_parallel_kernel_give_the_same_bits(
    beta: float, weighted: bool, gradient: bool, two_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child that must use the serial kernel gives the gradients and fp32 sums of the parallel kernel."""
    import numba

    from gfl_plugin.losses.qfl import numba_cpu
    from gfl_plugin.ops import numba_threads

    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("this machine has one CPU")
    arguments = negatives_arguments(beta, weighted, gradient)
    expected = numba_cpu.sweep(arguments)
    monkeypatch.setattr(numba_threads, "_forked_with_threads", True)
    assert bits(numba_cpu.sweep(arguments)) == bits(expected)


def assert_equal(results: dict, name: str) -> None:
    """A child exited normally, with the results of its parent."""
    child = results[name]
    assert child["exit"] == 0, f"exit status {child['exit']}: {child['error']}"
    assert child["value"] == results["parent, whole head" if name == "whole head" else "parent"]


# ---------------------------------------------------------------------------------------------------
# The program
# ---------------------------------------------------------------------------------------------------


def negatives_arguments(beta: float = 2.0, weighted: bool = False, gradient: bool = True):
    """Two small levels. PyTorch's operations on them use one thread, because several would hang in a forked child."""
    from gfl_plugin.losses.qfl import Negatives

    random = torch.Generator().manual_seed(0)
    sizes = [(2, 3, 12, 11), (2, 3, 5, 6)]
    logits = [3 * torch.randn(size, generator=random) - 2 for size in sizes]
    weights = [torch.rand(size[0], *size[2:], generator=random) for size in sizes] if weighted else None
    return Negatives(logits, [gradient] * 2, torch.tensor(0.37), beta, weights)


def bits(result: tuple) -> list[str]:
    """Sums and gradients as text; equal texts mean equal bits."""
    sums, gradients = result
    return [part.numpy().tobytes().hex() for part in (sums, *(g[:-1] for g in gradients if g is not None))]


def loss() -> list[str]:
    """The dense half of QFL and its gradient."""
    from gfl_plugin.losses.qfl import sweep_negatives

    return bits(sweep_negatives(negatives_arguments()))


def whole_head() -> list[float]:
    """Losses, gradients and detections of a head: all of the package's compiled loops."""
    from cases import Recipe, losses_and_gradients, our_head, random_batch

    head, batch = our_head(), random_batch(Recipe())
    losses, class_gradients, box_gradients = losses_and_gradients(head, batch)
    found = head.predict_by_feat(batch.cls_scores, batch.bbox_preds, batch_img_metas=batch.img_metas)
    values = [value for levels in losses.values() for value in levels]
    values += [float(level.double().abs().sum()) for level in (*class_gradients, *box_gradients)]
    return values + [number for image in found for number in image.bboxes.flatten().tolist()]


def in_child(work: Callable[[], object], deadline: float = DEADLINE) -> dict:
    """Call a function in a forked child and return exit status, result and error."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def run() -> None:
        os.setsid()  # so that one signal reaches its own children, too
        sender.send(work())

    child = context.Process(target=run)
    child.start()
    wait([receiver, child.sentinel], deadline)
    arrived = receiver.poll()
    child.join(1 if arrived else 0)
    error = "" if arrived else "still running, killed" if child.is_alive() else "ended by a signal or an error"
    if child.is_alive():
        os.killpg(child.pid, signal.SIGKILL)
        child.join()
    return {"exit": child.exitcode, "value": receiver.recv() if arrived else None, "error": error}


def with_threads(count: int, work: Callable[[], object]) -> object:
    """Set PyTorch's number of threads, as launchers do, and call a function."""
    torch.set_num_threads(count)
    return work()


class Losses(Dataset):
    """A dataset that computes a loss per sample, as in hard example mining."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> list[str]:
        return loss()


def data_loader() -> dict:
    """Compute a loss in each of two DataLoader workers; the result has the form of :func:`in_child`."""
    loader = DataLoader(Losses(), batch_size=None, num_workers=2, multiprocessing_context="fork", timeout=SHORTER)
    try:
        first, second = loader
    except RuntimeError as error:  # a worker was killed, or returned nothing
        return {"exit": 1, "value": None, "error": str(error)[:300]}
    assert first == second
    return {"exit": 0, "value": first, "error": ""}


def pool() -> list[str]:
    """Compute a loss in each of two pool processes."""
    with multiprocessing.get_context("fork").Pool(2) as workers:
        first, second = (task.get(SHORTER) for task in [workers.apply_async(loss) for _ in range(2)])
    assert first == second
    return first


def main(threads: int) -> None:
    """Print every result as JSON."""
    torch.set_num_threads(threads)
    import gfl_plugin  # noqa: F401  # before the first fork, as in a training script

    results = {"child before the first loss": in_child(loss), "parent": loss()}
    results["threads of PyTorch"] = torch.get_num_threads()
    results["child"] = in_child(loss)
    results["child of a child"] = in_child(lambda: in_child(loss, SHORTER)["value"])
    if threads == 1:
        results["child with two threads"] = in_child(lambda: with_threads(2, loss))
        two = in_child(lambda: with_threads(2, lambda: (loss(), in_child(loss, SHORTER)["value"])[1]))
        results["child of a child with two threads"] = two
        results["parent, whole head"] = whole_head()
        results["whole head"] = in_child(whole_head)
    else:
        results["child with one thread"] = in_child(lambda: with_threads(1, loss))
    results["data loader"] = data_loader()
    results["pool"] = in_child(pool)
    results["numba has threads"] = numba_has_threads()
    print(f"\n{MARK}{json.dumps(results)}", flush=True)


def numba_has_threads() -> bool:
    """Whether Numba has started its threads in this process."""
    import numba

    try:
        return bool(numba.threading_layer())
    except ValueError:
        return False


if __name__ == "__main__":
    main(int(sys.argv[1]))
