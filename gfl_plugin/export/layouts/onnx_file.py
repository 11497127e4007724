"""An ONNX file that ONNX Runtime runs on the CPU, with the names and shapes that its inputs and outputs have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...runtime.errors import in_a_line
from ...runtime.install_advice import module_or_advice

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_FATAL_ONLY = 4  # severity of ONNX Runtime's log, whose errors also are exceptions
_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8", "tensor(int64)": "int64"}


@dataclass(frozen=True)
class Tensor:
    """An input or an output as the file declares it."""

    name: str
    type: str  # in ONNX Runtime's words, such as "tensor(float)"
    shape: tuple[int | None, ...]  # None for a length that the file leaves open

    @property
    def dtype(self) -> str | None:
        """Name of NumPy's type; None for a type that no input of images has."""
        return _DTYPES.get(self.type)

    def __str__(self) -> str:
        return f"{self.name} {shape_text(self.shape)}"


@dataclass(frozen=True)
class OnnxFile:
    """A file that is ready to run."""

    path: Path
    session: InferenceSession
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    metadata: Mapping[str, str]

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Run the network.

        Args:
            inputs: arrays by name.
            outputs: names of the wanted outputs; all if None.

        Returns:
            Arrays by name, floating ones as float32. An array of two axes gets one for the batch, which some exporters
            leave out.

        Raises:
            ValueError: if the network cannot be run with these inputs.
        """
        names = [one.name for one in self.outputs] if outputs is None else list(outputs)
        try:
            arrays = self.session.run(names, dict(inputs))
        except Exception as error:  # ONNX Runtime's errors have no common class
            shapes = ", ".join(f"{name} {shape_text(one.shape)} {one.dtype}" for name, one in inputs.items())
            raise ValueError(f"{self.path} does not run with the inputs {shapes}: {in_a_line(error)}") from error
        return {name: _plain(np.asarray(one)) for name, one in zip(names, arrays)}


def open_onnx(path: Path) -> OnnxFile:
    """Open a file.

    Args:
        path: of the ONNX file.

    Returns:
        The file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if ONNX Runtime cannot load it.
        MissingPackageError: if ONNX Runtime is not installed.
    """
    runtime = module_or_advice("onnxruntime", "export")
    if not path.is_file():
        raise FileNotFoundError(f"ONNX file not found: {path}")
    options = runtime.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    try:
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no common class
        raise ValueError(f"ONNX Runtime {runtime.__version__} cannot load {path}: {in_a_line(error)}") from error
    return OnnxFile(
        path=path,
        session=session,
        inputs=tuple(map(_tensor, session.get_inputs())),
        outputs=tuple(map(_tensor, session.get_outputs())),
        metadata=dict(session.get_modelmeta().custom_metadata_map),
    )


def shape_text(shape: Sequence[int | None]) -> str:
    """A shape for a message.

    Args:
        shape: lengths; None for an open one.

    Returns:
        Such as ``(1, 2125, ?)``.
    """
    return f"({', '.join('?' if one is None else str(one) for one in shape)})"


def _plain(array: np.ndarray) -> np.ndarray:
    array = array.astype(np.float32) if array.dtype.kind == "f" else array
    return array[None] if array.ndim == 2 else array


def _tensor(argument: object) -> Tensor:
    lengths = (one if isinstance(one, int) and one > 0 else None for one in argument.shape or ())
    return Tensor(argument.name, argument.type, tuple(lengths))
