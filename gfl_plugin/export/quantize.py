"""Converts an exported file to 8-bit integers, except for the side distributions."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..runtime.atomic_files import write_whole

if TYPE_CHECKING:
    import numpy as np
    import onnx

# Names of the weights of layers that give box sides, in gfl_plugin's and MMDetection's heads (SSD's have no tower), and
# of GFLV2's layers, which read the distributions. In 256 levels, the logits of sides cost accuracy: differences
# between them decide about tenths of pixels (ultralytics/ultralytics#25306).
_SIDES = re.compile(r"bbox_head\.(gfl_reg|retina_reg|conv_reg|reg_convs\.\d+\.0|quality\.reg_conf\.\d+)\.weight")


def quantize(source: Path, target: Path, batches: Iterator[dict[str, np.ndarray]]) -> int:
    """Write a file whose convolutions have 8-bit weights and inputs, with the ranges of calibration images.

    Weights are signed with one scale per channel, inputs are unsigned with the smallest and the largest value of the
    calibration. The convolutions that give box sides, and everything that is not a convolution, stay in fp32.

    Args:
        source: an exported file.
        target: the new file; it has the same inputs, outputs and metadata.
        batches: inputs of the source, by name: at least one.

    Returns:
        The number of convolutions in 8 bits.

    Raises:
        ValueError: without a batch, or if the file has 8-bit operators already.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    if any(node.op_type == "QuantizeLinear" for node in onnx.load(source).graph.node):
        raise ValueError(f"{source} has 8-bit operators already; give the file in fp32")
    reader = _reader(batches)
    with tempfile.TemporaryDirectory() as folder, _quiet():
        prepared, quantized = Path(folder, "prepared.onnx"), Path(folder, "int8.onnx")
        # Batch norm becomes part of the convolutions. The shapes of our files are free, so they are not inferred.
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        convolutions = [node for node in onnx.load(prepared).graph.node if node.op_type == "Conv"]
        sides = [node.name for node in convolutions if is_side_layer(node)]
        quantize_static(
            prepared,
            quantized,
            reader,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=sides,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
        model = onnx.load(quantized)
    _copy_notes(onnx.load(source, load_external_data=False), model)
    write_whole(target, model.SerializeToString())
    return len(convolutions) - len(sides)


def is_side_layer(node: onnx.NodeProto) -> bool:
    """Whether a convolution gives the numbers of box sides.

    Args:
        node: a node of an exported file.

    Returns:
        Whether it does, by the name of its weights.
    """
    return len(node.input) > 1 and _SIDES.search(node.input[1]) is not None


def _reader(batches: Iterator[dict[str, np.ndarray]]) -> object:
    """The batches as ONNX Runtime reads them."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = iter(batches)
            self.first = next(self.batches, None)
            if self.first is None:
                raise ValueError("8-bit files need at least one calibration image")

        def get_next(self) -> dict[str, np.ndarray] | None:
            first, self.first = self.first, None
            return first or next(self.batches, None)

    return Reader()


def _copy_notes(source: onnx.ModelProto, target: onnx.ModelProto) -> None:
    """Copy what a file says about itself."""
    del target.metadata_props[:]
    target.metadata_props.extend(source.metadata_props)
    target.producer_name, target.producer_version = source.producer_name, source.producer_version


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Drop what ONNX Runtime's tool prints and logs."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(disabled)
