"""Small ONNX networks with the outputs of other toolboxes' heads, made of random numbers or of known maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 11  # of NanoDet's exporter


@dataclass
class Graph:
    """Nodes that are added one after the other."""

    nodes: list = field(default_factory=list)
    constants: list = field(default_factory=list)

    def add(self, kind: str, *inputs: str, name: str = "", **attributes: object) -> str:
        """Add a node with one output, and return the name of the output."""
        name = name or f"value_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(self, values: object, dtype: type = np.float32) -> str:
        """Add an array, and return its name."""
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def save(
        self,
        path: Path,
        inputs: Mapping[str, Sequence[int | str]],
        outputs: Mapping[str, int],
        metadata: Mapping[str, str],
    ) -> Path:
        """Write the file: inputs by name with their shapes, outputs by name with their number of axes."""
        ends = [
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in tensors.items()]
            for tensors in (inputs, {name: [f"{name}_{axis}" for axis in range(n)] for name, n in outputs.items()})
        ]
        graph = helper.make_graph(self.nodes, "network", *ends, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=6)
        helper.set_model_props(model, dict(metadata))
        onnx.checker.check_model(model)
        onnx.save(model, path)
        return path


@dataclass(frozen=True)
class Form:
    """In which form a head gives its outputs."""

    joined: bool = True  # scores and sides of a location in one output
    concatenated: bool = True  # all levels in one output
    maps: bool = False  # (B, K, H, W); else without the axes of the image
    channels_last: bool = True  # (B, A, K); else (B, K, A)
    sides_first: bool = False
    bin_major: bool = False
    sigmoid: bool = True  # inside
    softmax: bool = False  # inside
    squeezed: bool = False  # without the axis of the batch
    names: tuple[str, ...] = ()  # of the outputs; "output_0", ... if empty


@dataclass(frozen=True)
class Head:
    """What a made network predicts."""

    size: tuple[int, int]  # width and height of the input
    strides: tuple[int, ...]
    classes: int
    bins: int

    def cells(self) -> list[tuple[int, int]]:
        """Rows and columns of the levels."""
        return [(-(-self.size[1] // stride), -(-self.size[0] // stride)) for stride in self.strides]


@dataclass(frozen=True)
class Code:
    """Image number i has the value i * step in the network's first channel, which is normalized by mean and std."""

    step: float
    mean: float
    std: float


def random_network(path: Path, head: Head, form: Form, seed: int = 0, **options: object) -> Path:
    """A network with one convolution per level, whose kernel is as large as its stride."""
    graph, random = Graph(), np.random.default_rng(seed)
    rows = []
    for stride, (height, width) in zip(head.strides, head.cells()):
        pads = [0, 0, height * stride - head.size[1], width * stride - head.size[0]]
        level = []
        for channels in (head.classes, 4 * head.bins):
            weights = graph.constant(random.normal(0, 1.5 / stride, (channels, 3, stride, stride)))
            bias = graph.constant(random.normal(0, 1, channels))
            kernel = dict(strides=[stride, stride], pads=pads, kernel_shape=[stride, stride])
            level.append(graph.add("Conv", "data", weights, bias, **kernel))
        rows.append(level)
    return _finish(path, graph, head, form, rows, **options)


def known_network(
    path: Path, head: Head, form: Form, maps: Sequence[Sequence[np.ndarray]], code: Code, **options: object
) -> Path:
    """A network that tells images apart by the first channel of the pixel in the middle.

    ``maps`` has per level scores (N, C, H, W) and sides (N, 4 * bins, H, W) of N images, as logits.
    """
    graph, pixel = Graph(), "data"
    for axis, place in ((1, 0), (2, head.size[1] // 2), (3, head.size[0] // 2)):
        ends = (graph.constant([one], np.int64) for one in (place, place + 1, axis))
        pixel = graph.add("Slice", pixel, *ends)
    pixel = graph.add("Reshape", pixel, graph.constant([-1], np.int64))
    grey = graph.add("Add", graph.add("Mul", pixel, graph.constant(code.std)), graph.constant(code.mean))
    number = graph.add("Add", graph.add("Div", grey, graph.constant(code.step)), graph.constant(0.5))
    last = graph.constant(len(maps[0][0]) - 1)
    number = graph.add("Clip", graph.add("Floor", number), graph.constant(0), last)
    row = graph.add("Cast", number, to=TensorProto.INT64)
    rows = [[graph.add("Gather", graph.constant(one), row, axis=0) for one in level] for level in maps]
    return _finish(path, graph, head, form, rows, **options)


def _finish(
    path: Path,
    graph: Graph,
    head: Head,
    form: Form,
    rows: Sequence[Sequence[str]],
    metadata: Mapping[str, str] | None = None,
    shape: Sequence[int | str] | None = None,
) -> Path:
    """Bring maps of scores and sides per level into the form of a toolbox."""
    levels = []
    for (scores, sides), (height, width) in zip(rows, head.cells()):
        scores = graph.add("Sigmoid", scores) if form.sigmoid else scores
        if form.softmax or form.bin_major:
            sides = _sides(graph, sides, head.bins, height * width, form)
            sides = graph.add("Reshape", sides, graph.constant([0, 4 * head.bins, height, width], np.int64))
        both = [sides, scores] if form.sides_first else [scores, sides]
        levels.append([graph.add("Concat", *both, axis=1)] if form.joined else both)
    if not form.maps:
        flat = graph.constant([0, 0, -1], np.int64)
        levels = [[graph.add("Reshape", one, flat) for one in level] for level in levels]
    if form.concatenated:
        levels = [[graph.add("Concat", *column, axis=2) for column in zip(*levels)]]
    if form.channels_last:
        order = [0, 2, 3, 1] if form.maps else [0, 2, 1]
        levels = [[graph.add("Transpose", one, perm=order) for one in level] for level in levels]
    values = [level[part] for part in range(len(levels[0])) for level in levels]  # all scores first
    if form.squeezed:
        values = [graph.add("Squeeze", value, axes=[0]) for value in values]
    names = form.names or tuple(f"output_{number}" for number in range(len(values)))
    for name, value in zip(names, values, strict=True):
        graph.add("Identity", value, name=name)
    inputs = {"data": shape or [1, 3, head.size[1], head.size[0]]}
    return graph.save(path, inputs, dict.fromkeys(names, (4 if form.maps else 3) - form.squeezed), metadata or {})


def _sides(graph: Graph, sides: str, bins: int, count: int, form: Form) -> str:
    """Bins behind the softmax, or in another order."""
    apart = graph.add("Reshape", sides, graph.constant([0, 4, bins, count], np.int64))
    if form.softmax:
        apart = graph.add("Softmax", graph.add("Transpose", apart, perm=[0, 1, 3, 2]), axis=3)
        apart = graph.add("Transpose", apart, perm=[0, 1, 3, 2])
    return graph.add("Transpose", apart, perm=[0, 2, 1, 3]) if form.bin_major else apart
