"""Shapes that become constants: the same numbers for every batch and size, and no others become constant."""

from __future__ import annotations

import gfl_plugin  # noqa: F401  # isort: skip  (must precede mmdet without compiled ops)
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from gfl_plugin.export.simple_reshapes import simplify_reshapes


def graph_of(sizes: list[str | int], data: str = "images", first: str = "batch") -> onnx.ModelProto:
    """A Reshape to sizes: "batch", "cells" (height times width) or numbers."""
    node, constant = helper.make_node, lambda name, value: helper.make_tensor(name, TensorProto.INT64, [1], [value])
    nodes = [
        node("Shape", ["images"], ["batch"], start=0, end=1),
        node("Shape", ["images"], ["plane"], start=2, end=4),
        node("ReduceProd", ["plane"], ["cells"], keepdims=1),
        node("Transpose", ["images"], ["turned"], perm=[1, 0, 2, 3]),
        node("Concat", [str(size) for size in sizes], ["sizes"], axis=0),
        node("Reshape", [data, "sizes"], ["result"], name="view", allowzero=1),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, [first, 4, "height", "width"])
    turned = helper.make_tensor_value_info("turned", TensorProto.FLOAT, [4, first, "height", "width"])
    result = helper.make_tensor_value_info("result", TensorProto.FLOAT, [None] * len(sizes))
    numbers = [constant(str(size), size) for size in {*sizes} if isinstance(size, int)]
    graph = helper.make_graph(nodes, "g", [images], [result], numbers, value_info=[turned])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def outputs(model: onnx.ModelProto) -> list[np.ndarray]:
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    shapes = [(1, 4, 2, 3), (3, 4, 5, 1), (2, 4, 4, 4)]
    return [session.run(None, {"images": np.arange(np.prod(s)).reshape(s).astype(np.float32)})[0] for s in shapes]


@pytest.mark.parametrize(
    ("sizes", "constant"), [(["batch", "cells", 4], [0, -1, 4]), (["batch", 2, 2, "cells"], [0, 2, 2, -1])]
)
def test_constant_shapes_give_the_same(sizes: list[str | int], constant: list[int]) -> None:
    """Before and after, for other batches and sizes."""
    model = graph_of(sizes)
    before = outputs(model)
    assert simplify_reshapes(model) == 1
    (node,) = (one for one in model.graph.node if one.op_type == "Reshape")
    shapes = {one.name: onnx.numpy_helper.to_array(one).tolist() for one in model.graph.initializer}
    assert shapes[node.input[1]] == constant
    for one, other in zip(before, outputs(model)):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "model",
    [
        graph_of(["batch", "cells", 4], data="turned"),  # copying would take 4 as the batch
        graph_of(["cells", "batch", 4]),
        graph_of(["batch", "cells", 4], first=""),
    ],
    ids=["another first dimension", "the batch is not first", "unknown batch"],
)
def test_other_shapes_stay(model: onnx.ModelProto) -> None:
    """Where the batch could not be copied, nothing changes."""
    before = model.SerializeToString()
    assert simplify_reshapes(model) == 0
    assert model.SerializeToString() == before
