"""Seeds derived from other seeds, and seeding of all random number generators."""

from __future__ import annotations

import random

import numpy as np
import torch


def derive_seed(*numbers: int) -> int:
    """Hash several integers into one seed.

    Args:
        *numbers: integers >= 0. Changing any of them changes the result.

    Returns:
        An integer of 64 bits.
    """
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def seed_everything(seed: int) -> None:
    """Seed the generators of Python, NumPy and PyTorch, without waiting for a GPU.

    Args:
        seed: of 64 bits; NumPy gets its lower 32 bits.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  (MMDetection's transforms draw from the global generator)
    torch.manual_seed(seed)
