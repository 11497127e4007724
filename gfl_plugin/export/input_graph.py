"""The ONNX graph that turns images of whole grey levels into the network's input."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .model_description import RESIZE, InputDescription

if TYPE_CHECKING:
    import onnx

IMAGES, SIZES, SCALE = "images", "sizes", "scale"  # inputs of the networks; the graph here gives them
_PREFIX = "preprocessing/"  # of all names here, which must differ from those of the network


def with_preprocessing(network: onnx.ModelProto, own: InputDescription) -> onnx.ModelProto:
    """Put the preprocessing before a network.

    Args:
        network: with the input ``images`` and, where it needs them, ``sizes`` and ``scale``, see BoxNetwork.
        own: the preprocessing.

    Returns:
        A model with the input ``images`` (B, H, W, 3) uint8 RGB.
    """
    from onnx import compose

    given = [one.name for one in network.graph.input]
    graph = _Graph(network.opset_import[0].version, network.ir_version)
    made = _preprocessing(graph, own)
    before = graph.model({name: made[name] for name in given})
    for one in (*network.graph.output, *network.graph.value_info):
        for dimension in one.type.tensor_type.shape.dim:
            if dimension.dim_param:  # writing it removes a fixed size
                dimension.dim_param = re.sub(r"\b(height|width)\b", r"padded_\1", dimension.dim_param)
    return compose.merge_models(before, network, io_map=[(_PREFIX + name, name) for name in given])


def _preprocessing(graph: _Graph, own: InputDescription) -> dict[str, str]:
    """Record the operations; return the names of their results by what they are."""
    shape = graph.add("Shape", IMAGES)
    height_width = graph.add("Slice", shape, graph.constant([1]), graph.constant([3]))
    pixels = graph.add("Cast", graph.add("Transpose", IMAGES, perm=[0, 3, 1, 2]), to=_FLOAT)
    size, scale = height_width, graph.constant(np.ones(4, np.float32))
    if own.preprocessing == RESIZE and own.size is not None:
        size = _new_size(graph, height_width, own)
        batch = graph.add("Slice", shape, graph.constant([0]), graph.constant([1]))
        new_shape = graph.add("Concat", batch, graph.constant([3]), size, axis=0)
        pixels = graph.add("Resize", pixels, "", "", new_shape, mode="linear", **_RESIZE)
        pixels = graph.add("Round", pixels)  # images have whole grey levels, also after resizing
        scale = _scale(graph, height_width, size)
    if own.channels == "bgr":
        pixels = graph.add("Gather", pixels, graph.constant([2, 1, 0]), axis=1)
    if any(own.mean):
        pixels = graph.add("Sub", pixels, graph.constant(_per_channel(own.mean)))
    if any(one != 1 for one in own.std):
        pixels = graph.add("Div", pixels, graph.constant(_per_channel(own.std)))
    if own.pad_divisor > 1:
        missing = graph.add("Mod", graph.add("Neg", size), graph.constant([own.pad_divisor]))
        pads = graph.add("Concat", graph.constant([0] * 6), missing, axis=0)
        pixels = graph.add("Pad", pixels, pads, graph.constant(np.float32(own.pad_value)))
    batch = graph.add("Slice", shape, graph.constant([0]), graph.constant([1]))
    sizes = graph.add("Expand", size, graph.add("Concat", batch, graph.constant([2]), axis=0))
    return {IMAGES: pixels, SIZES: sizes, SCALE: scale}


_FLOAT, _INT64, _DOUBLE, _UINT8 = 1, 7, 11, 2  # of onnx.TensorProto
_RESIZE = {"coordinate_transformation_mode": "half_pixel", "antialias": 0}


def _new_size(graph: _Graph, height_width: str, own: InputDescription) -> str:
    """Height and width after resizing, with MMDetection's rounding, hence in fp64."""
    width, height = own.size
    if not own.keep_ratio:
        return graph.constant([height, width])
    old = graph.add("Cast", height_width, to=_DOUBLE)
    longest = graph.add("ReduceMax", old, keepdims=1)
    shortest = graph.add("ReduceMin", old, keepdims=1)
    factor = graph.add(
        "Min",
        graph.add("Div", graph.constant(np.array([max(own.size)], np.float64)), longest),
        graph.add("Div", graph.constant(np.array([min(own.size)], np.float64)), shortest),
    )
    exact = graph.add("Add", graph.add("Mul", old, factor), graph.constant(np.array([0.5], np.float64)))
    return graph.add("Cast", exact, to=_INT64)


def _scale(graph: _Graph, old: str, new: str) -> str:
    """(4,) pixels of the given images per pixel of the resized ones, along x, y, x, y."""
    factor = graph.add("Div", graph.add("Cast", new, to=_DOUBLE), graph.add("Cast", old, to=_DOUBLE))
    inverse = graph.add("Div", graph.constant(np.array([1.0], np.float64)), factor)
    return graph.add("Gather", graph.add("Cast", inverse, to=_FLOAT), graph.constant([1, 0, 1, 0]), axis=0)


def _per_channel(values: Sequence[float]) -> np.ndarray:
    return np.array(values, np.float32).reshape(1, 3, 1, 1)


class _Graph:
    """Collects nodes.

    Args:
        opset: of the model.
        ir_version: of the model.
    """

    def __init__(self, opset: int, ir_version: int) -> None:
        self._opset, self._ir_version = opset, ir_version
        self._nodes: list = []
        self._constants: list = []

    def constant(self, value: np.ndarray | Sequence[int]) -> str:
        """Add a constant; return its name. Whole numbers are int64."""
        from onnx import numpy_helper

        name = f"{_PREFIX}constant_{len(self._constants)}"
        value = np.array(value, np.int64) if isinstance(value, list) else np.asarray(value)
        self._constants.append(numpy_helper.from_array(value, name))
        return name

    def add(self, operation: str, *inputs: str, **attributes: object) -> str:
        """Add a node with one output; return the name of the output."""
        from onnx import helper

        name = f"{_PREFIX}{operation}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operation, inputs, [name], name=name, **attributes))
        return name

    def model(self, outputs: dict[str, str]) -> onnx.ModelProto:
        """The model that gives some of the results, each under its new name with the prefix."""
        from onnx import helper

        shapes = {
            IMAGES: (_FLOAT, ["batch", 3, "padded_height", "padded_width"]),
            SIZES: (_INT64, ["batch", 2]),
            SCALE: (_FLOAT, [4]),
        }
        named = [helper.make_node("Identity", [made], [_PREFIX + name]) for name, made in outputs.items()]
        nodes = _needed([*self._nodes, *named], set(outputs.values()))
        read = {name for node in nodes for name in node.input}
        graph = helper.make_graph(
            nodes,
            "preprocessing",
            [helper.make_tensor_value_info(IMAGES, _UINT8, ["batch", "height", "width", 3])],
            [helper.make_tensor_value_info(_PREFIX + name, *shapes[name]) for name in outputs],
            [constant for constant in self._constants if constant.name in read],
        )
        opset = helper.make_opsetid("", self._opset)
        return helper.make_model(graph, opset_imports=[opset], ir_version=self._ir_version)


def _needed(nodes: Sequence[onnx.NodeProto], results: set[str]) -> list[onnx.NodeProto]:
    """The nodes that results follow from; they are in order."""
    needed, kept = set(results), []
    for node in reversed(nodes):
        if node.op_type == "Identity" or needed & set(node.output):
            needed |= set(node.input)
            kept.append(node)
    return kept[::-1]
