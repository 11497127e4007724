"""What a machine cannot do faster: moving the bytes, and one transcendental function after another."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Machine:
    """A device and what was measured on it."""

    name: str
    copy_bandwidth: float  # bytes read and written a second, by copies of 512 MB
    exp_rate: float  # fp32 exponentials a second, in cache on a CPU

    @staticmethod
    def measured(device: str = "cpu") -> Machine:
        """Measure now, with the threads PyTorch is set to."""
        source = torch.ones(128 << 20, device=device)
        target = torch.ones_like(source)
        copy = median_seconds(lambda: target.copy_(source), device)
        part = source[: 1 << 17] if device == "cpu" else source
        out = target[: part.numel()]
        repeats = 64 if device == "cpu" else 1

        def exponentials() -> None:
            for _ in range(repeats):
                torch.exp(part, out=out)

        exp = median_seconds(exponentials, device)
        return Machine(_name(device), 2 * source.nbytes / copy, repeats * part.numel() / exp)

    def floor(self, moved: float = 0.0, exponentials: float = 0.0) -> float:
        """Seconds that moving so many bytes or computing so many exponentials takes, whichever is more."""
        return max(moved / self.copy_bandwidth, exponentials / self.exp_rate)


def median_seconds(run: Callable[[], object], device: str, runs: int = 9) -> float:
    """Median time of a call, after two that do not count."""
    return statistics.median(seconds(run, device) for _ in range(runs + 2))


def seconds(run: Callable[[], object], device: str) -> float:
    """Time of one call, all of a GPU's work included."""
    synchronize(device)
    clock = time.perf_counter()
    run()
    synchronize(device)
    return time.perf_counter() - clock


def synchronize(device: str) -> None:
    """Wait for a GPU; nothing on a CPU."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def _name(device: str) -> str:
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    cpu = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in cpu.read_text().splitlines() if line.startswith("model name")] if (
        cpu.is_file()
    ) else []  # fmt: skip
    return f"{names[0] if names else platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"
