"""The number of threads of parallel Numba kernels: PyTorch's number, or 1 in a process that cannot start threads."""

from __future__ import annotations

import os

import numba
import torch

# Two threads may run a kernel at once. Numba's own pool, which it uses where TBB is missing, does not allow that.
numba.config.THREADING_LAYER_PRIORITY = ["omp", "tbb", "workqueue"]

# Whether this process was forked, directly or through others, from one in which Numba had started its threads.
_forked_with_threads = False


def thread_count() -> int:
    """The number of threads for the next parallel kernel.

    A forked process has none of its parent's threads. GNU OpenMP cannot start them again: PyTorch operations hang
    there, and Numba ends the process.

    Returns:
        PyTorch's number of threads, at most Numba's; 1 in a process forked from one with Numba threads.
    """
    return 1 if _forked_with_threads else min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS)


def set_threads(count: int) -> None:
    """Set Numba's number of threads and start them; PyTorch's number does not change.

    Args:
        count: from :func:`thread_count`. With 1, do not call this: processes forked later could not start threads.
    """
    before = torch.get_num_threads()
    numba.set_num_threads(count)
    # Both use the same OpenMP runtime, which Numba sets to all cores when it starts. PyTorch would then use all cores,
    # too, and round differently.
    if torch.get_num_threads() != before:
        torch.set_num_threads(before)


def started_threads() -> int:
    """The number of threads for the next parallel kernel, which are started if there are several.

    With one, OpenMP is never started, so that processes forked later can still start theirs.

    Returns:
        As :func:`thread_count`.
    """
    count = thread_count()
    if count > 1:
        set_threads(count)
    return count


def _has_threads() -> bool:
    """Whether Numba has started its threads, here or in a process that this one was forked from."""
    try:
        numba.threading_layer()
    except ValueError:  # raised before the start
        return False
    return True


def _after_fork_in_child() -> None:
    global _forked_with_threads
    _forked_with_threads = _forked_with_threads or _has_threads()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_after_fork_in_child)
