"""Files that gfl_plugin has exported need no layout: their detections are those of the detector in PyTorch."""

from __future__ import annotations

from pathlib import Path

import gfl_plugin  # noqa: F401  # isort: skip  (must precede mmdet without compiled ops)
import numpy as np
import onnx
import pytest
import torch
from mmdet.apis import inference_detector
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.runner import save_checkpoint
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from gfl_plugin.analysis.side_errors import load_detector
from gfl_plugin.export.export_model import ExportRequest, export_model, write_model
from gfl_plugin.export.layouts.detector import open_detector
from gfl_plugin.export.model_description import KEY, RAW, InputDescription, ModelDescription
from gfl_plugin.pictures.read_image import read_rgb

CLASSES = tuple("0123456789")
SIZES = ((70, 50), (41, 90))  # width and height of images


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of random weights, and images."""
    root = tmp_path_factory.mktemp("described")
    torch.manual_seed(0)
    state = MODELS.build(config().model).state_dict()
    save_checkpoint(dict(state_dict=state, meta=dict(dataset_meta=dict(classes=CLASSES))), str(root / "gfl.pth"))
    for number, (width, height) in enumerate(SIZES):
        pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(root / f"{number}.png")
    return root


def config() -> Config:
    """The demo's detector, with many detections, and with images that are resized."""
    cfg = Config.fromfile(gfl_plugin.find_config("gfl_plugin::demo/gfl_r18_demo.py"))
    cfg.model.bbox_head.reg_max = 8
    cfg.model.test_cfg.update(score_thr=1e-3, nms_pre=50, max_per_img=40)
    pipeline = [
        dict(type="LoadImageFromFile"),
        dict(type="Resize", scale=(128, 96), keep_ratio=True),
        dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
    ]
    for name in ("val", "test"):
        cfg[f"{name}_dataloader"].dataset.pipeline = pipeline
    return cfg


def test_detections_of_logits_are_those_of_pytorch(root: Path, tmp_path: Path) -> None:
    fields = ("with_uncertainty", "with_distributions")
    detector = load_detector(config(), root / "gfl.pth", **dict.fromkeys(fields, True))
    file = write_model(export_model(detector.model, detector.cfg, ExportRequest(contract=RAW)), tmp_path)
    onnx_detector = open_detector(file)
    assert onnx_detector.classes == CLASSES and onnx_detector.notes == ()
    assert onnx_detector.bins == tuple(map(float, range(9)))
    for number in range(len(SIZES)):
        path = root / f"{number}.png"
        theirs = inference_detector(detector.model, str(path)).pred_instances
        ours = onnx_detector.find(read_rgb(path))
        assert len(ours.scores) == len(theirs.scores) > 5
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-4)
        assert ours.labels.tolist() == theirs.labels.tolist()
        np.testing.assert_allclose(ours.boxes, theirs.bboxes, atol=1e-3)
        np.testing.assert_allclose(ours.std, theirs.bbox_std, atol=1e-3)
        np.testing.assert_allclose(ours.distributions, theirs.bbox_distributions, atol=1e-4)
        np.testing.assert_allclose(ours.points, theirs.bbox_points, atol=1e-4)


def test_a_file_that_gives_boxes_keeps_their_deviations(tmp_path: Path) -> None:
    """The contract "boxes", in a made file: two classes, and one box that NMS leaves out."""
    boxes = [[10, 20, 60, 50], [11, 20, 60, 50], [10, 20, 60, 50]]
    values = dict(boxes=boxes, scores=[0.9, 0.8, 0.7], labels=[0, 0, 1], std=[[1, 2, 3, 4]] * 3)
    nodes, outputs = [], []
    for name, value in values.items():
        array = np.array([value], np.int64 if name == "labels" else np.float32)
        tensor = numpy_helper.from_array(array, name)
        nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        outputs.append(helper.make_tensor_value_info(name, tensor.data_type, array.shape))
    inputs = [helper.make_tensor_value_info("images", TensorProto.UINT8, [1, "height", "width", 3])]
    model = helper.make_model(
        helper.make_graph(nodes, "boxes", inputs, outputs), opset_imports=[helper.make_opsetid("", 18)], ir_version=9
    )
    own_input = InputDescription("normalize", (0.0,) * 3, (1.0,) * 3, "rgb", (40, 30), False, 32, 0.0)
    description = ModelDescription(
        *("boxes", "Made", ("a", "b"), own_input, (8,), 0.5, tuple(range(9)), True),
        *(0.05, 100, 0.6, False, 100, "", "1"),
    )
    helper.set_model_props(model, {KEY: description.to_json()})
    onnx.save(model, tmp_path / "model.onnx")
    detector = open_detector(tmp_path / "model.onnx")
    found = detector.find(np.zeros((60, 80, 3), np.uint8))  # twice as large as the input
    assert detector.with_std and detector.bins is None and found.labels.tolist() == [0, 1]
    np.testing.assert_allclose(found.boxes, [[20, 40, 120, 100]] * 2)
    np.testing.assert_allclose(found.std, [[2, 4, 6, 8]] * 2)
    assert "bbox_std" in found.fields() and "bbox_distributions" not in found.fields()
