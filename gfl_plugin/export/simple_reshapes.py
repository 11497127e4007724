"""Replaces computed shapes in an ONNX graph by constants, where ONNX can infer the free size.

PyTorch computes the sizes of every view from the image's. OpenVINO 2026.4 gets some of these computations wrong, other
runtimes do not optimize them. ``Reshape`` can copy the batch (0) and infer one size (-1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

_COPY, _INFER = 0, -1


def simplify_reshapes(model: onnx.ModelProto) -> int:
    """Make the shapes constant that consist of the batch, of constants, and of at most one other size.

    Args:
        model: is changed; the first dimension of its first input is the batch.

    Returns:
        The number of changed nodes.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    constants = {
        one.name: numpy_helper.to_array(one).reshape(-1).tolist() for one in graph.initializer if _is_short(one)
    }
    known = {one.name: one.type.tensor_type.shape.dim for one in (*graph.input, *graph.value_info)}
    batch = known[graph.input[0].name][0].dim_param
    changed = 0
    for node in graph.node:
        shape = makers.get(node.input[1]) if node.op_type == "Reshape" else None
        if shape is None or shape.op_type != "Concat":
            continue
        sizes = [
            size
            for name in shape.input
            for size in constants.get(name, [_COPY if _is_batch(makers.get(name), graph.input[0].name) else _INFER])
        ]
        if sizes[0] != _COPY or _COPY in sizes[1:] or sizes.count(_INFER) > 1:
            continue
        before = known.get(node.input[0])
        if not before or not batch or before[0].dim_param != batch:  # copying needs the batch as the first dimension
            continue
        name = f"{node.name}_shape"
        graph.initializer.append(numpy_helper.from_array(np.array(sizes, np.int64), name))
        node.input[1] = name
        kept = [attribute for attribute in node.attribute if attribute.name != "allowzero"]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute("allowzero", 0)])
        changed += 1
    return changed


def _is_short(initializer: onnx.TensorProto) -> bool:
    return len(initializer.dims) <= 1 and int(np.prod(initializer.dims)) <= 8


def _is_batch(node: onnx.NodeProto | None, images: str) -> bool:
    """Whether a node gives the size of the first dimension of the images."""
    if node is None or node.op_type != "Shape" or node.input[0] != images:
        return False
    ends = {attribute.name: attribute.i for attribute in node.attribute}
    return ends.get("start", 0) == 0 and ends.get("end") == 1
