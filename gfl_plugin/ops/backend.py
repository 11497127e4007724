"""Chooses between PyTorch, Numba and Triton for every operation that has several kernels.

The kernels do not depend on this choice. Compiled kernels are imported here when one is first chosen, so that importing
gfl_plugin imports neither Numba nor Triton.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

Backend = Literal["torch", "numba", "triton"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)

# What the tensors of a compiled kernel must be.
_TAKES: dict[str, str] = {"numba": "torch.float32 on cpu", "triton": "any float dtype on cuda"}

# A new thread starts without a request. A forked process keeps the request of the thread that forked it.
_requested: ContextVar[Backend | None] = ContextVar("gfl_plugin.backend", default=None)


@contextmanager
def use_backend(name: Backend) -> Iterator[None]:
    """Use one backend inside a ``with`` block, or inside a function that this decorates.

    Operations without a kernel of that backend use PyTorch. The innermost block applies. It is valid for the current
    thread and for processes forked inside it; threads that are started inside it choose by themselves. Programs that
    torch.compile, torch.export or torch.jit.trace record always contain PyTorch operations only.

    Args:
        name: ``"torch"``, ``"numba"`` or ``"triton"``.

    Yields:
        Nothing.

    Raises:
        ValueError: if the name is unknown.
        ImportError: if the backend's package is not installed.
        RuntimeError: raised inside the block by an operation whose tensors the requested backend does not take.

    Example:
        >>> with use_backend("torch"):
        ...     losses = head.loss_by_feat(cls_scores, bbox_preds, gt_instances, img_metas)
    """
    if name not in BACKENDS:
        raise ValueError(f"backend is {name!r}; it must be one of {', '.join(map(repr, BACKENDS))}")
    if _is_tracing():  # the choice is PyTorch anyway, and a trace cannot contain a context variable
        yield
        return
    if name != "torch" and not installed(name):
        raise ModuleNotFoundError(
            f'use_backend("{name}"): {name} is not installed; install it by: pip install {name}, or write '
            'use_backend("torch")',
            name=name,
        )
    token = _requested.set(name)
    try:
        yield
    finally:
        _requested.reset(token)


def choose(tensor: Tensor, available: Collection[str]) -> Backend:
    """The backend that an operation uses for a tensor.

    Without :func:`use_backend` it is Numba for fp32 tensors on a CPU and Triton for tensors on a CUDA device, where
    the operation has such a kernel and the package is installed; otherwise PyTorch.

    Args:
        tensor: an input of the operation; its device and dtype are used.
        available: backends that the operation has kernels for. ``"torch"`` need not be listed.

    Returns:
        ``"torch"``, ``"numba"`` or ``"triton"``.

    Raises:
        RuntimeError: if :func:`use_backend` requests a backend whose kernel does not take such a tensor.
    """
    if _is_tracing():
        return "torch"
    requested = _requested.get()
    if requested is None:
        fitting = (name for name in BACKENDS if name in available and _takes(name, tensor) and installed(name))
        return next(fitting, "torch")
    if requested == "torch" or requested not in available:
        return "torch"
    if not _takes(requested, tensor):
        raise RuntimeError(
            f'use_backend("{requested}"): the {requested} kernel takes tensors of {_TAKES[requested]}; this one is '
            f'{tensor.dtype} on {tensor.device.type}. Convert it, or write use_backend("torch")'
        )
    return requested


@dataclass(frozen=True)
class Kernels:
    """The kernels of one operation. All of them take the same arguments and return the same values."""

    torch: Callable[..., Any]  # PyTorch operations: any device, any dtype
    numba: str | None = None  # "package.module:function"
    triton: str | None = None  # "package.module:function"

    def for_tensor(self, tensor: Tensor) -> Callable[..., Any]:
        """The kernel that :func:`choose` selects.

        Args:
            tensor: an input of the operation.

        Returns:
            The kernel's function.

        Raises:
            RuntimeError: if :func:`use_backend` requests a backend whose kernel does not take such a tensor.
        """
        return self.for_tensors([tensor])

    def for_tensors(self, tensors: Sequence[Tensor]) -> Callable[..., Any]:
        """As :meth:`for_tensor`, for inputs all of which the kernel must take.

        Args:
            tensors: at least one input of the operation.

        Returns:
            The kernel's function.

        Raises:
            RuntimeError: if :func:`use_backend` requests a backend whose kernel does not take one of the tensors.
        """
        compiled = {name: place for name, place in (("numba", self.numba), ("triton", self.triton)) if place}
        backends = {choose(tensor, compiled) for tensor in tensors}
        backend = backends.pop() if len(backends) == 1 else "torch"
        return self.torch if backend == "torch" else _imported(compiled[backend])


@functools.cache
def installed(package: str) -> bool:
    """Whether a package is installed; it is not imported.

    Args:
        package: name of the package, as in an import.

    Returns:
        True if an import would find it.
    """
    return importlib.util.find_spec(package) is not None


def _takes(backend: str, tensor: Tensor) -> bool:
    """Whether a backend's kernels take tensors of this device and dtype; see :data:`_TAKES`."""
    if backend == "numba":
        return tensor.device.type == "cpu" and tensor.dtype == torch.float32
    return backend == "triton" and tensor.device.type == "cuda"


def _is_tracing() -> bool:
    """Whether operations are recorded rather than computed: their tensors have no memory that a kernel could read."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


@functools.cache
def _imported(place: str) -> Callable[..., Any]:
    """The function at ``package.module:function``."""
    module, function = place.split(":")
    return getattr(importlib.import_module(module), function)
