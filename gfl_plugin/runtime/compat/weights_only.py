"""MMEngine's checkpoints with ``weights_only``.

Problem: since PyTorch 2.6 ``weights_only`` is the default of ``torch.load``, which then refuses the ``HistoryBuffer``
    and the NumPy arrays in MMEngine's checkpoints. NumPy's own unpickling is not safe: a crafted dtype can name fields
    outside its memory, which NumPy then reads.
Versions: PyTorch >= 2.6 with MMEngine <= 0.10.7.
Change: these types are added to PyTorch's safe globals, for every ``torch.load`` of the process. Arrays, dtypes and
    scalars are created by functions of this module, which accept plain numbers only.
Not needed when: MMEngine adds its types to the safe globals, and NumPy validates what it unpickles.
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
    """A NumPy dtype of plain numbers, created as in a pickle: ``numpy.dtype(code, align, copy)``, then its state."""

    def __init__(self, code: Any = None, *settings: Any) -> None:
        if not (isinstance(code, str) and _NUMERIC.fullmatch(code)):
            what = f"{code[:20]!r}" if isinstance(code, str) else f"created from a {type(code).__name__}"
            raise ValueError(f"arrays in a checkpoint hold plain numbers; this one has a NumPy dtype {what}")
        self._dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        if not (isinstance(state, tuple) and len(state) >= 8 and state[1] in ("<", ">", "|", "=")):
            raise ValueError("the state of a NumPy dtype is damaged")
        if tuple(state[2:8]) != _NO_FIELDS:
            raise ValueError("a NumPy dtype of plain numbers has no fields; this one has")
        self._dtype = self._dtype.newbyteorder(state[1])

    def __reduce__(self) -> Any:
        return self._dtype.__reduce__()

    @property
    def numpy(self) -> np.dtype:
        """The NumPy dtype."""
        return self._dtype


class CheckedArray(np.ndarray):
    """A NumPy array from a checkpoint; it is pickled as an ordinary array."""

    def __new__(cls, *args: Any, **kwargs: Any) -> CheckedArray:
        raise ValueError("arrays in a checkpoint are created from their bytes, not by numpy.ndarray()")

    def __setstate__(self, state: Any) -> None:
        if getattr(self, "filled", False):  # other objects may refer to the memory that a second state would replace
            raise ValueError("the state of a NumPy array is set twice")
        if not (isinstance(state, tuple) and len(state) in (4, 5)):
            raise ValueError("the state of a NumPy array is damaged")
        shape, dtype, fortran, data = state[-4:]
        dtype = _plain(dtype)
        if not (isinstance(shape, tuple) and all(type(side) is int and side >= 0 for side in shape)):
            raise ValueError("the shape of a NumPy array is damaged")
        if not (isinstance(data, bytes) and len(data) == math.prod(shape) * dtype.itemsize):
            raise ValueError(f"a NumPy array of shape {shape} and type {dtype} has the wrong number of bytes")
        super().__setstate__((1, shape, dtype, bool(fortran), data))
        self.filled = True

    def __reduce__(self) -> Any:
        return self.view(np.ndarray).__reduce__()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.view(np.ndarray).__reduce_ex__(protocol)


def _plain(dtype: Any) -> np.dtype:
    """The NumPy dtype for a dtype from a pickle."""
    if isinstance(dtype, PlainDtype):
        return dtype.numpy
    # A user's own add_safe_globals may have replaced PlainDtype by NumPy's dtype.
    if isinstance(dtype, np.dtype) and dtype.kind in "biuf" and dtype.fields is None and dtype.subdtype is None:
        return np.dtype(dtype.str)
    raise ValueError(f"arrays in a checkpoint hold plain numbers; this one holds a {type(dtype).__name__}")


def blank_array(kind: Any, shape: Any, code: Any) -> CheckedArray:
    """Replace ``numpy._core.multiarray._reconstruct``: create an array that gets its bytes with its state.

    Args:
        kind: type of the array.
        shape: ignored; the state has it.
        code: ignored; the state has it.

    Returns:
        An empty array.

    Raises:
        ValueError: if the type is not ``numpy.ndarray``.
    """
    if kind not in (CheckedArray, np.ndarray):
        raise ValueError(f"arrays in a checkpoint are numpy.ndarray; this one is a {type(kind).__name__}")
    return np.zeros(0, np.uint8).view(CheckedArray)


def plain_scalar(dtype: Any = None, data: Any = None) -> np.generic:
    """Replace ``numpy._core.multiarray.scalar``: create a number from its bytes.

    Args:
        dtype: of the number.
        data: its bytes.

    Returns:
        The number.

    Raises:
        ValueError: if the dtype is not one of plain numbers, or the number of bytes is wrong.
    """
    dtype = _plain(dtype)
    if not (isinstance(data, bytes) and len(data) == dtype.itemsize):
        raise ValueError(f"a NumPy number of type {dtype} has the wrong number of bytes")
    return np.frombuffer(data, dtype)[0]


class CheckedHistory(HistoryBuffer):
    """A HistoryBuffer from a checkpoint. MMEngine's own class accepts new methods for the class from a state."""

    def __new__(cls, *args: Any) -> CheckedHistory:
        return object.__new__(cls)

    def __init__(self, *args: Any) -> None:
        raise ValueError("a HistoryBuffer in a checkpoint is created from its state")

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
    """Replace ``bytes`` in checkpoints: the content of an empty array is pickled as ``bytes()``.

    Args:
        *args: must be empty.

    Returns:
        ``b""``.

    Raises:
        ValueError: if there are arguments.
    """
    if args:
        raise ValueError("the checkpoint calls bytes(...), which is refused")
    return b""


def history_statistic(owner: object = None, name: Any = None) -> Callable:
    """Replace ``getattr`` in checkpoints: the statistics of HistoryBuffer are pickled as calls of ``getattr``.

    Args:
        owner: must be HistoryBuffer.
        name: must be that of a statistic.

    Returns:
        The method.

    Raises:
        ValueError: for any other attribute.
    """
    if owner is not CheckedHistory or not isinstance(name, str) or name not in ("min", "max", "current", "mean"):
        raise ValueError("the checkpoint calls getattr for another attribute, which is refused")
    return getattr(HistoryBuffer, name)


def close() -> str:
    """Add the types to PyTorch's safe globals.

    Returns:
        What was changed; "" before PyTorch 2.6.
    """
    if torch.torch_version.TorchVersion(torch.__version__) < (2, 6):  # safe globals accept no functions there
        return ""
    torch.serialization.add_safe_globals(
        [
            (CheckedHistory, "mmengine.logging.history_buffer.HistoryBuffer"),
            (CheckedArray, "numpy.ndarray"),
            (PlainDtype, "numpy.dtype"),
            # NumPy 1 and NumPy 2 pickle the same two functions under different module names.
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
    return "MMEngine's HistoryBuffer and NumPy arrays of numbers can be loaded with weights_only"
