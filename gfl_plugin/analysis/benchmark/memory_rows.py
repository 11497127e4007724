"""Row for the peak memory of the head in training."""

from __future__ import annotations

import gc
import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import torch

from .checks import total
from .heads import build_heads
from .machine_limits import MachineLimits
from .row import Row
from .settings import Report, Settings


def memory_rows(settings: Settings, limits: MachineLimits, report: Report) -> Iterator[Row]:
    """Measure the peak memory of loss and backward, with one process per head, so that no head reuses freed memory.

    Args:
        settings: settings of the benchmark.
        limits: limits of the machine.
        report: function that is called with the name of the current measurement.

    Yields:
        The row.
    """
    report("peak memory of a step")
    case, peaks = settings.case(), []
    for which in range(2):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            peaks.append(pool.apply(_peak_of_step, (settings, which, torch.get_num_threads())) / 1e6)
    gradients = sum(level.nbytes for maps in (case.cls_scores, case.bbox_preds) for level in maps) / 1e6
    yield Row("peak memory of a step", *peaks, "MB", peaks[0] / peaks[1], floor=gradients)


def _peak_of_step(settings: Settings, which: int, threads: int) -> float:
    """Peak bytes of loss and backward beyond the logits.

    Args:
        settings: settings of the benchmark.
        which: 0 for MMDetection's head, 1 for the plugin's.
        threads: number of PyTorch threads.
    """
    torch.set_num_threads(threads)
    head = build_heads(settings.classes, settings.device)[which]
    # A small step comes first, so that the memory of compilation and imports is not counted.
    small = settings.case(batch=1, short=160)
    total(head.loss_by_feat(*small.leaves(), small.gt_instances, small.img_metas)).backward()
    case = settings.case()
    maps = case.leaves()
    gc.collect()
    before = _memory_now(settings.device)
    total(head.loss_by_feat(*maps, case.gt_instances, case.img_metas)).backward()
    return _highest_memory(settings.device) - before


def _memory_now(device: str) -> float:
    """Return the bytes in use, and reset the peak."""
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _highest_memory(device: str) -> float:
    return torch.cuda.max_memory_allocated(device) if torch.device(device).type == "cuda" else _status("VmHWM")


def _status(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * float(next(line for line in lines if line.startswith(field)).split()[1])
