"""The pass over negatives, by the kernel for the logits' device and dtype."""

from __future__ import annotations

from ...ops.backend import Kernels
from . import eager
from .negatives import Negatives, Result

_SWEEP = Kernels(
    torch=eager.sweep,
    numba="gfl_plugin.losses.qfl.numba_cpu:sweep",
    triton="gfl_plugin.losses.qfl.triton_gpu:sweep",
)


def sweep_negatives(work: Negatives) -> Result:
    """Loss and gradient of all logits as negatives.

    Args:
        work: the logits with their weights, and the gradients to compute.

    Returns:
        Sums and gradients; see :data:`negatives.Result`.

    Raises:
        RuntimeError: if :func:`gfl_plugin.ops.backend.use_backend` requests a kernel that does not take the logits.
    """
    return _SWEEP.for_tensor(work.logits[0])(work)
