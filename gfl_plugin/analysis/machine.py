"""Description of the machine on which figures are measured: processor, cores, GPUs and PyTorch."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Machine:
    """Properties of a machine that affect times."""

    processor: str  # name of the CPU
    cores: int  # CPU cores that this process may use
    torch: str  # version of PyTorch
    gpus: tuple[str, ...] = ()  # names of the GPUs that are visible to PyTorch

    def __str__(self) -> str:
        gpus = "".join(f", {name}" for name in self.gpus)
        return f"{self.processor}, {self.cores} cores{gpus}, PyTorch {self.torch}"


def this_machine() -> Machine:
    """Describe the machine on which this process runs.

    Returns:
        The description.
    """
    gpus = tuple(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
    return Machine(_processor(), available_cores(), torch.__version__, gpus)


def available_cores() -> int:
    """Count the CPU cores that this process may use.

    Returns:
        The number of cores.
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
