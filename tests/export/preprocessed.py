"""Runs the preprocessing of exported files alone."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper
from onnxruntime import InferenceSession

from gfl_plugin.export.input_graph import IMAGES, SCALE, SIZES, with_preprocessing
from gfl_plugin.export.model_description import NORMALIZE, InputDescription

# Pixels stay as they are.
UNCHANGED = InputDescription(
    preprocessing=NORMALIZE,
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    channels="rgb",
    size=None,
    keep_ratio=True,
    pad_divisor=1,
    pad_value=0.0,
)


def preprocessed(own: InputDescription, images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the network of a file gets.

    Args:
        own: the preprocessing.
        images: (B, H, W, 3) uint8 RGB.

    Returns:
        (B, 3, H', W') pixels, (B, 2) sizes before padding, (4,) scale.
    """
    kinds = {
        IMAGES: (TensorProto.FLOAT, ["batch", 3, "height", "width"]),
        SIZES: (TensorProto.INT64, ["batch", 2]),
        SCALE: (TensorProto.FLOAT, [4]),
    }
    nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in kinds]
    given = [helper.make_tensor_value_info(name, *kind) for name, kind in kinds.items()]
    results = [helper.make_tensor_value_info(f"{name}_out", *kind) for name, kind in kinds.items()]
    graph = helper.make_graph(nodes, "nothing", given, results)
    network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    session = InferenceSession(with_preprocessing(network, own).SerializeToString())
    return tuple(session.run(None, {IMAGES: images}))
