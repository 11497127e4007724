"""The machine that figures were measured on: processor, cores, GPUs and PyTorch."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Machine:
    """What a reader must know to compare times."""

    processor: str  # name of the CPU
    cores: int  # CPU cores that this process may use
    torch: str  # version of PyTorch
    gpus: tuple[str, ...] = ()  # names of the GPUs that PyTorch sees

    def __str__(self) -> str:
        gpus = "".join(f", {name}" for name in self.gpus)
        return f"{self.processor}, {self.cores} cores{gpus}, PyTorch {self.torch}"


def this_machine() -> Machine:
    """Describe the machine that this process runs on."""
    gpus = tuple(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
    return Machine(_processor(), available_cores(), torch.__version__, gpus)


def available_cores() -> int:
    """Number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
