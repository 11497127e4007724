"""8-bit files: which layers change, what stays, and that the comparison reports both files."""

from __future__ import annotations

import json
from pathlib import Path

import gfl_plugin  # noqa: F401  # isort: skip  (must precede mmdet without compiled ops)
import numpy as np
import onnx
import onnxruntime
import pytest
from export.test_certificate import Exported, config, exported
from labelled_folders import Split, truths, write_coco

from gfl_plugin.export.int8 import FILE, JSON, Int8Request, write_int8
from gfl_plugin.export.quantize import is_side_layer, quantize


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    write_coco(root, Split("val", truths(3)))
    return root


@pytest.fixture(scope="module", params=["joint", "gflv2", "ssd"])
def own(request: pytest.FixtureRequest, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    cfg = config(data, request.param)
    # Images of both data loaders are the same here. The training pipeline must not be used: it does not exist.
    inner = {**cfg.val_dataloader.dataset, "pipeline": [dict(type="NoSuchTransform")]}
    cfg.train_dataloader = dict(cfg.val_dataloader, dataset=dict(type="RepeatDataset", times=9, dataset=inner))
    return exported(cfg, tmp_path_factory.mktemp("model"))


def inputs(count: int) -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(0)
    sizes = np.array([[64, 96]], np.int64)
    return [{"images": random.normal(size=(1, 3, 64, 96)).astype(np.float32), "sizes": sizes} for _ in range(count)]


def test_all_convolutions_but_those_of_sides(own: Exported, tmp_path: Path) -> None:
    """Inputs of side layers, and of GFLV2's layers, are fp32; those of all other convolutions are 8-bit numbers."""
    target = tmp_path / "int8.onnx"
    count = quantize(own.path, target, iter(inputs(3)))
    graph = onnx.load(target).graph
    maker = {name: node.op_type for node in graph.node for name in node.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    integer = [node for node in convolutions if maker.get(node.input[1]) == "DequantizeLinear"]
    assert len(integer) == count > 0
    assert all(maker[node.input[0]] == "DequantizeLinear" for node in integer)
    floating = [node for node in convolutions if node not in integer]
    weights = [node.input[1] for node in floating]
    assert floating and all(map(is_side_layer, floating)), weights
    assert not any(map(is_side_layer, integer))


def test_it_takes_and_gives_the_same(own: Exported, tmp_path: Path) -> None:
    """Inputs, outputs and metadata are the same; the numbers are similar and not equal."""
    target = tmp_path / "int8.onnx"
    quantize(own.path, target, iter(inputs(8)))
    sessions = [onnxruntime.InferenceSession(path) for path in (own.path, target)]
    first, second = ([one.name for one in session.get_inputs()] for session in sessions)
    assert first == second
    first, second = (session.get_modelmeta().custom_metadata_map for session in sessions)
    assert first == second
    full, small = (session.run(["scores"], inputs(1)[0])[0] for session in sessions)
    assert 0 < np.abs(np.sort(full) - np.sort(small)).mean() < 0.02


def test_files_and_comparison(own: Exported) -> None:
    """Both files are run on the images, calibration uses training images through the test pipeline."""
    calls = []
    result = write_int8(own.path, own.model, own.cfg, Int8Request(images=2), lambda *done: calls.append(done))
    assert (result.calibration, result.images) == (3, 2)
    assert calls == [(number, 5) for number in range(5)]
    target = own.path.with_name(FILE)
    assert result.bytes == (own.path.stat().st_size, target.stat().st_size)
    assert json.loads(own.path.with_name(JSON).read_text())["ap"] == list(result.ap)
    assert result.milliseconds[0] > 0 and result.speedup[0] <= result.speedup[1] <= result.speedup[2]


@pytest.mark.parametrize("own", ["joint"], indirect=True)
def test_mistakes(own: Exported, tmp_path: Path) -> None:
    """No image, a file that has 8-bit numbers, no training data."""
    target = tmp_path / "int8.onnx"
    with pytest.raises(ValueError, match="at least one calibration image"):
        quantize(own.path, target, iter(()))
    quantize(own.path, target, iter(inputs(1)))
    with pytest.raises(ValueError, match="has 8-bit operators already; give the file in fp32"):
        quantize(target, tmp_path / "again.onnx", iter(inputs(1)))
    without = own.cfg.copy()
    without.pop("train_dataloader")
    with pytest.raises(ValueError, match="no train_dataloader"):
        write_int8(own.path, own.model, without, Int8Request())
