"""MMEngine's checkpoints under ``weights_only``, which PyTorch 2.6 made the default of ``torch.load``.

They carry its ``HistoryBuffer`` and NumPy arrays. Those are listed as safe, and ``weights_only`` stays on. NumPy's own
unpickling is not safe: a crafted dtype can name fields outside of its memory, which NumPy then reads. So arrays, dtypes
and scalars are made by this module, which accepts plain numbers and nothing else.

Versions: PyTorch >= 2.6 with MMEngine <= 0.10.7. Can go when MMEngine lists them itself and NumPy checks what it reads.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

_NUMERIC = re.compile(r"b1|[iu][1248]|f[248]")  # as NumPy writes them: kind and bytes
_NO_FIELDS = (None, None, None, -1, -1, 0)  # subarray, names, fields, size, alignment, flags of a plain dtype


class PlainDtype:
    """A NumPy dtype of plain numbers, as a pickle describes it: ``numpy.dtype(code, align, copy)``, then its state."""

    def __init__(self, code: Any = None, *settings: Any) -> None:
        if not (isinstance(code, str) and _NUMERIC.fullmatch(code)):
            what = f"{code[:20]!r}" if isinstance(code, str) else f"made of a {type(code).__name__}"
            raise ValueError(f"a checkpoint's arrays hold plain numbers; this one has a NumPy dtype {what}")
        self._dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        if not (isinstance(state, tuple) and len(state) >= 8 and state[1] in ("<", ">", "|", "=")):
            raise ValueError("the state of a NumPy dtype is damaged")
        if tuple(state[2:8]) != _NO_FIELDS:
            raise ValueError("a NumPy dtype of plain numbers has no fields; this one was crafted")
        self._dtype = self._dtype.newbyteorder(state[1])

    def __reduce__(self) -> Any:
        return self._dtype.__reduce__()

    @property
    def numpy(self) -> np.dtype:
        """The dtype itself."""
        return self._dtype


class CheckedArray(np.ndarray):
    """A NumPy array out of a checkpoint; it is written again as an ordinary one."""

    def __new__(cls, *args: Any, **kwargs: Any) -> CheckedArray:
        raise ValueError("a checkpoint's arrays are made from their bytes, not by numpy.ndarray()")

    def __setstate__(self, state: Any) -> None:
        if getattr(self, "filled", False):  # somebody may already look at the memory that a second one would exchange
            raise ValueError("a NumPy array gets its state twice")
        if not (isinstance(state, tuple) and len(state) in (4, 5)):
            raise ValueError("the state of a NumPy array is damaged")
        shape, dtype, fortran, data = state[-4:]
        dtype = _plain(dtype)
        if not (isinstance(shape, tuple) and all(type(side) is int and side >= 0 for side in shape)):
            raise ValueError("the shape of a NumPy array is damaged")
        if not (isinstance(data, bytes) and len(data) == math.prod(shape) * dtype.itemsize):
            raise ValueError(f"a NumPy array of shape {shape} and type {dtype} does not have the bytes that it needs")
        super().__setstate__((1, shape, dtype, bool(fortran), data))
        self.filled = True

    def __reduce__(self) -> Any:
        return self.view(np.ndarray).__reduce__()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.view(np.ndarray).__reduce_ex__(protocol)


def _plain(dtype: Any) -> np.dtype:
    """The dtype of numbers that a pickle's description stands for."""
    if isinstance(dtype, PlainDtype):
        return dtype.numpy
    # A user's own add_safe_globals may have put NumPy's dtype in place of ours.
    if isinstance(dtype, np.dtype) and dtype.kind in "biuf" and dtype.fields is None and dtype.subdtype is None:
        return np.dtype(dtype.str)
    raise ValueError(f"a checkpoint's arrays hold plain numbers; this one holds a {type(dtype).__name__}")


def blank_array(kind: Any, shape: Any, code: Any) -> CheckedArray:
    """In place of ``numpy._core.multiarray._reconstruct``: an array whose bytes come with its state."""
    if kind not in (CheckedArray, np.ndarray):
        raise ValueError(f"a checkpoint's arrays are numpy.ndarray; this one is a {type(kind).__name__}")
    return np.zeros(0, np.uint8).view(CheckedArray)


def plain_scalar(dtype: Any = None, data: Any = None) -> np.generic:
    """In place of ``numpy._core.multiarray.scalar``: one number from its bytes."""
    dtype = _plain(dtype)
    if not (isinstance(data, bytes) and len(data) == dtype.itemsize):
        raise ValueError(f"a NumPy number of type {dtype} does not have the bytes that it needs")
    return np.frombuffer(data, dtype)[0]


class CheckedHistory(HistoryBuffer):
    """A HistoryBuffer out of a checkpoint. MMEngine's own takes functions for the whole class from one's state."""

    def __new__(cls, *args: Any) -> CheckedHistory:
        return object.__new__(cls)

    def __init__(self, *args: Any) -> None:
        raise ValueError("a checkpoint's HistoryBuffer is made from its state")

    def __setstate__(self, state: Any) -> None:
        arrays = [state.get(name) for name in ("_log_history", "_count_history")] if isinstance(state, dict) else []
        numbers = [array for array in arrays if isinstance(array, np.ndarray) and array.ndim == 1]
        length = state.get("max_length") if isinstance(state, dict) else None
        if len(numbers) != 2 or len(numbers[0]) != len(numbers[1]) or type(length) is not int:
            raise ValueError("a HistoryBuffer is damaged")
        self.__class__ = HistoryBuffer
        self._set_default_statistics()
        self.max_length, self._log_history, self._count_history = length, *numbers


def no_bytes(*args: Any) -> bytes:
    """What ``bytes()`` means inside a checkpoint: the content of an empty array, which is written so."""
    if args:
        raise ValueError("a checkpoint asks for bytes(...), which is refused")
    return b""


def history_statistic(owner: object = None, name: Any = None) -> Callable:
    """What ``getattr`` means inside a checkpoint: one of HistoryBuffer's statistics, each of which is written so."""
    if owner is not CheckedHistory or not isinstance(name, str) or name not in ("min", "max", "current", "mean"):
        raise ValueError("the checkpoint asks for an attribute by getattr, which is refused")
    return getattr(HistoryBuffer, name)


def close() -> str:
    """List what MMEngine's checkpoints need, for every ``torch.load`` of the process."""
    if torch.torch_version.TorchVersion(torch.__version__) < (2, 6):  # has no such list for functions
        return ""
    torch.serialization.add_safe_globals(
        [
            (CheckedHistory, "mmengine.logging.history_buffer.HistoryBuffer"),
            (CheckedArray, "numpy.ndarray"),
            (PlainDtype, "numpy.dtype"),
            # NumPy 1 and NumPy 2 write the same two functions under different module names; checkpoints of both exist.
            *[
                (function, f"{module}.multiarray.{name}")
                for module in ("numpy.core", "numpy._core")
                for name, function in (("_reconstruct", blank_array), ("scalar", plain_scalar))
            ],
            *[
                (function, f"{module}.{name}")
                for module in ("builtins", "__builtin__")
                for name, function in (("getattr", history_statistic), ("bytes", no_bytes))
            ],
        ]
    )
    return "MMEngine's HistoryBuffer and NumPy arrays of numbers may be loaded with weights_only"
