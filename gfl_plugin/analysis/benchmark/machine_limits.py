"""Measured limits of the machine: memory bandwidth, exponentials and multiply-adds per second."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ...ops.backend import Kernels
from .timing import median_seconds


@dataclass(frozen=True)
class MachineLimits:
    """Measured rates of a device."""

    copy_bandwidth: float  # bytes read and written per second, by copies of 512 MB
    exp_rate: float  # fp32 exponentials per second, in cache on a CPU; of the fastest kernel
    product_rate: float  # fp32 multiply-adds per second, of a product of matrices

    @staticmethod
    def measured(device: str = "cpu") -> MachineLimits:
        """Measure the rates with PyTorch's current number of threads.

        Args:
            device: cpu or cuda.

        Returns:
            The rates.
        """
        source = torch.ones(128 << 20, device=device)
        target = torch.ones_like(source)
        copy = median_seconds(lambda: target.copy_(source), device)
        side = 1024
        one, other = (target[: side * side].view(side, side).fill_(1) for _ in range(2))
        product = median_seconds(lambda: one @ other, device)
        return MachineLimits(2 * source.nbytes / copy, 1 / _seconds_per_exponential(device), side**3 / product)

    def floor(self, moved: float = 0.0, exponentials: float = 0.0, products: float = 0.0) -> float:
        """Compute a lower bound on the time of an operation: the slowest of its memory traffic and its computations.

        Args:
            moved: bytes to read and write.
            exponentials: number of exponentials to compute.
            products: number of multiply-adds to compute.

        Returns:
            Seconds.
        """
        return max(moved / self.copy_bandwidth, exponentials / self.exp_rate, products / self.product_rate)


def _exponentials(values: Tensor, repeats: int) -> None:
    out = torch.empty_like(values)
    for _ in range(repeats):
        torch.exp(values, out=out)


_EXPONENTIALS = Kernels(torch=_exponentials, numba="gfl_plugin.analysis.benchmark.exponentials_numba:exponentials")


def _seconds_per_exponential(device: str) -> float:
    """Time of one exponential with the fastest kernel, in cache on a CPU."""
    count, repeats = (1 << 17, 64) if device == "cpu" else (1 << 27, 1)
    values = torch.linspace(-20, 0, count, device=device)
    kernels = {_exponentials, _EXPONENTIALS.for_tensor(values)}
    times = [median_seconds(partial(kernel, values, repeats), device) for kernel in kernels]
    return min(times) / (repeats * count)
