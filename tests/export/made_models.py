"""Small ONNX files in the form of exported models, made without a detector."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

from gfl_plugin.export.model_description import BOXES, KEY, NORMALIZE, InputDescription, ModelDescription

INPUT = InputDescription(
    preprocessing=NORMALIZE,
    mean=(123.675, 116.28, 103.53),
    std=(58.395, 57.12, 57.375),
    channels="rgb",
    size=None,
    keep_ratio=True,
    pad_divisor=32,
    pad_value=0.0,
)
DESCRIPTION = ModelDescription(
    contract=BOXES,
    model="Detector, Head",
    classes=("cat", "dog"),
    input=INPUT,
    strides=(8, 16),
    offset=0.0,
    bins=tuple(map(float, range(17))),
    with_std=False,
    score_threshold=0.05,
    topk=100,
    iou_threshold=0.6,
    class_agnostic=False,
    max_per_image=100,
    weights_hash="0" * 64,
    version="1.0",
)


def described(own_input: Mapping[str, object] | None = None, **changes: object) -> ModelDescription:
    """The description with some values changed."""
    return replace(DESCRIPTION, input=replace(INPUT, **(own_input or {})), **changes)


def write_made(
    path: Path, outputs: Mapping[str, np.ndarray], description: ModelDescription | dict | None, opset: int = 18
) -> Path:
    """Write a model that gives the same outputs for every image.

    Args:
        path: of the file.
        outputs: by name.
        description: of the file, or its values; None for a file without one.
        opset: that the file says it needs.

    Returns:
        The path.
    """
    kinds = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int64): TensorProto.INT64}
    nodes = [helper.make_node("Identity", [f"{name}_"], [name]) for name in outputs]
    # An input that nothing reads would be removed.
    nodes.append(helper.make_node("Shape", ["images"], ["shape"]))
    results = [helper.make_tensor_value_info(name, kinds[one.dtype], one.shape) for name, one in outputs.items()]
    results.append(helper.make_tensor_value_info("shape", TensorProto.INT64, [4]))
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["B", "H", "W", 3])],
        results,
        [numpy_helper.from_array(one, f"{name}_") for name, one in outputs.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    if description is not None:
        values = asdict(description) if isinstance(description, ModelDescription) else description
        helper.set_model_props(model, {KEY: json.dumps(values)})
    save(model, path)
    return path


def box_outputs(
    boxes: list[list[float]], scores: list[float], labels: list[int], std: list[list[float]] | None = None
) -> dict[str, np.ndarray]:
    """Outputs of the contract "boxes" for one image."""
    outputs = {
        "boxes": np.array(boxes, np.float32).reshape(1, -1, 4),
        "scores": np.array(scores, np.float32).reshape(1, -1),
        "labels": np.array(labels, np.int64).reshape(1, -1),
    }
    return outputs if std is None else {**outputs, "std": np.array(std, np.float32).reshape(1, -1, 4)}
