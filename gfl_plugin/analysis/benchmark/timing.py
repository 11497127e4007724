"""Time of a call, including the work that it leaves to a GPU."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch


def median_seconds(run: Callable[[], object], device: str, runs: int = 9) -> float:
    """Median time of a call.

    Args:
        run: the call.
        device: that it uses.
        runs: number of calls; two calls before them warm up.
    """
    for _ in range(2):
        run()
    return statistics.median(seconds(run, device) for _ in range(runs))


def seconds(run: Callable[[], object], device: str) -> float:
    """Time of one call, until the device has done all of its work.

    Args:
        run: the call.
        device: that it uses.
    """
    _synchronize(device)
    clock = time.perf_counter()
    run()
    _synchronize(device)
    return time.perf_counter() - clock


def _synchronize(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
