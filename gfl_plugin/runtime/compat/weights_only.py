"""MMEngine's checkpoints under ``weights_only``, which PyTorch 2.6 made the default of ``torch.load``.

They carry its ``HistoryBuffer`` and NumPy arrays; those are listed as safe, and ``weights_only`` stays on.

Versions: PyTorch >= 2.6 with MMEngine <= 0.10.7. Can go when MMEngine lists them itself.
"""

from __future__ import annotations

from typing import Callable

import torch


def _history_statistic(owner: object, name: str) -> Callable:
    """What ``getattr`` means inside a checkpoint: one of HistoryBuffer's statistics."""
    from mmengine.logging import HistoryBuffer

    if owner is not HistoryBuffer or name not in ("min", "max", "current", "mean"):
        raise ValueError(f"the checkpoint asks for attribute {name!r} of {owner!r}, which is refused")
    return getattr(HistoryBuffer, name)


def close() -> str:
    if torch.torch_version.TorchVersion(torch.__version__) < (2, 6):  # loads everything by default
        return ""
    import numpy as np
    from mmengine.logging import HistoryBuffer

    add_safe_globals = torch.serialization.add_safe_globals
    multiarray = np._core.multiarray if hasattr(np, "_core") else np.core.multiarray
    dtypes = {type(np.dtype(code)) for code in ("?", "b", "B", "h", "H", "i", "I", "l", "L", "q", "Q", "e", "f", "d")}
    add_safe_globals([HistoryBuffer, np.ndarray, np.dtype, *sorted(dtypes, key=lambda kind: kind.__name__)])
    # NumPy 1 and NumPy 2 write the same two functions under different module names; checkpoints of both exist.
    add_safe_globals(
        [
            (getattr(multiarray, name), f"{module}.multiarray.{name}")
            for module in ("numpy.core", "numpy._core")
            for name in ("_reconstruct", "scalar")
        ]
    )
    # A HistoryBuffer is written with its statistics, each as getattr(HistoryBuffer, name). The real getattr would be a
    # way out of weights_only; this one knows nothing else.
    add_safe_globals([(_history_statistic, f"{module}.getattr") for module in ("builtins", "__builtin__")])
    return "MMEngine's HistoryBuffer and NumPy arrays may be loaded with weights_only"
