"""Records a network with torch.export and writes it as an ONNX model of standard operators only."""

from __future__ import annotations

import contextlib
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.export import Dim

from ..ops.backend import use_backend
from ..runtime.errors import in_a_line
from .onnx_operations import translations

if TYPE_CHECKING:
    import onnx

OLDEST_OPSET = 18  # what PyTorch's exporter writes; older ones lack operators


class ExportError(ValueError):
    """A network that cannot be recorded or written; the message is one line."""


def check_opset(opset: int) -> None:
    """Check that models of an opset can be written.

    Args:
        opset: version of ONNX's operators.

    Raises:
        ValueError: if it is too old, or unknown to the installed onnx.
    """
    from onnx.defs import onnx_opset_version

    if opset < OLDEST_OPSET:
        raise ValueError(f"--opset is {opset}; the lowest that works is {OLDEST_OPSET}")
    if opset > onnx_opset_version():
        raise ValueError(f"--opset is {opset}; the installed onnx knows opsets up to {onnx_opset_version()}")


def onnx_model(
    network: nn.Module, size: tuple[int, int], inputs: Sequence[str], outputs: Sequence[str], opset: int
) -> onnx.ModelProto:
    """Convert a network.

    Args:
        network: takes images, and the other inputs of :class:`~.network.BoxNetwork`; in eval mode, on the CPU.
        size: height and width for the recording; they are free in the model, as is the size of the batch.
        inputs: names of its inputs: ``images``, or ``images`` and ``sizes``, or these and ``scale``.
        outputs: names of its outputs.
        opset: version of ONNX's operators.

    Returns:
        The model.

    Raises:
        ExportError: if PyTorch cannot record or convert it.
    """
    examples = (
        torch.zeros(2, 3, *size),
        torch.tensor([size, size]),
        torch.ones(4),
    )[: len(inputs)]
    # Not named dimensions, which must be free of conditions such as "a level has more than one cell"; these have no
    # effect on the graph.
    free = Dim.DYNAMIC
    dynamic = ({0: free, 2: free, 3: free}, {0: free}, None)[: len(inputs)]
    try:
        with _quiet(), torch.no_grad(), use_backend("torch"):
            # Recorded first: within torch.onnx.export, MMDetection calls functions that it no longer has.
            program = torch.export.export(network, examples, dynamic_shapes=dynamic, strict=False)
            converted = torch.onnx.export(
                program,
                (),
                input_names=list(inputs),
                output_names=list(outputs),
                opset_version=opset,
                dynamo=True,
                verbose=False,
                custom_translation_table=translations(),
            )
            model = converted.model_proto
    except Exception as error:  # of any type: parts of a network are other people's code
        raise ExportError(f"PyTorch cannot export this network to ONNX ({in_a_line(_cause(error))})") from error
    _remove_notes(model)
    _name_dimensions(model)
    return model


def check_standard(model: onnx.ModelProto) -> None:
    """Check a model with ONNX's checker, and that it has operators of ONNX's own opset only.

    Args:
        model: the model.

    Raises:
        ExportError: if it is not valid, or needs other operators.
    """
    import onnx

    others = sorted({f"{node.domain}.{node.op_type}" for node in _all_nodes(model.graph) if node.domain})
    if others or model.functions:
        raise ExportError(f"the network needs operators that ONNX does not have: {', '.join(others) or 'functions'}")
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:
        raise ExportError(f"the exported model is not valid ONNX ({in_a_line(error)})") from error


def _all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for part in (attribute.g, *attribute.graphs):
                yield from _all_nodes(part)


def _remove_notes(model: onnx.ModelProto) -> None:
    """Remove what the exporter notes about its source: lines and paths of Python files, many times the graph's size."""
    parts = [model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output]
    for part in (*parts, *model.graph.value_info, *model.graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""


def _name_dimensions(model: onnx.ModelProto) -> None:
    """Name the free dimensions, which PyTorch numbers."""
    shape = model.graph.input[0].type.tensor_type.shape.dim
    names = {shape[axis].dim_param: name for axis, name in ((0, "batch"), (2, "height"), (3, "width"))}
    names["u0"] = "detections"
    named = [*model.graph.input, *model.graph.output, *model.graph.value_info]
    dimensions = [dimension for one in named for dimension in one.type.tensor_type.shape.dim if dimension.dim_param]
    for dimension in dimensions:
        dimension.dim_param = re.sub(r"\w+", lambda match: names.get(match[0], match[0]), dimension.dim_param)


def _cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Drop what PyTorch's exporter logs and warns of."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
