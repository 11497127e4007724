"""Time of a call, including its asynchronous work on a GPU."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch


def median_seconds(run: Callable[[], object], device: str, runs: int = 9) -> float:
    """Measure the median time of a call.

    Args:
        run: the call.
        device: device that it uses.
        runs: number of timed calls, after two warm-up calls.

    Returns:
        Seconds.
    """
    for _ in range(2):
        run()
    return statistics.median(seconds(run, device) for _ in range(runs))


def seconds(run: Callable[[], object], device: str) -> float:
    """Measure the time of one call, until the device has finished its work.

    Args:
        run: the call.
        device: device that it uses.

    Returns:
        Seconds.
    """
    _synchronize(device)
    clock = time.perf_counter()
    run()
    _synchronize(device)
    return time.perf_counter() - clock


def _synchronize(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
