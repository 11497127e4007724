"""Exported files in ONNX Runtime find what the plugin's own prediction finds, at other sizes than the recorded one."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
import onnx
import pytest
import torch
from cases import record
from export.preprocessed import UNCHANGED, preprocessed
from export.tiny_detectors import HEADS, config_of, detector_of, normalized_images
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData
from onnxruntime import InferenceSession
from torch import Tensor, nn

from gfl_plugin.export.export_model import ExportRequest, export_model
from gfl_plugin.export.model_description import KEY, ModelDescription
from gfl_plugin.export.write_onnx import check_standard
from gfl_plugin.structures.side_fields import BBOX_STD

PIXELS, SCORES = 1e-3, 1e-4  # largest differences
# Batch, height, width. The second has one cell in its highest level, and fewer class scores than are selected.
SHAPES = ((3, 72, 104), (1, 16, 16))
WITH_STD = ("joint", "gflv2", "no_quality_gaussian")
BOXES = [name for name in HEADS if name != "guided"]  # which differs from joint in training only


@dataclass(frozen=True)
class Exported:
    """A detector and its file."""

    cfg: Config
    model: nn.Module
    file: onnx.ModelProto
    session: InferenceSession

    @property
    def description(self) -> ModelDescription:
        (text,) = (one.value for one in self.file.metadata_props if one.key == KEY)
        return ModelDescription.from_json(text)

    def run(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        names = [one.name for one in self.session.get_outputs()]
        return dict(zip(names, self.session.run(names, inputs)))


@functools.cache
def exported(
    head: str, contract: str, preprocessing: str = "none", classes: int = 3, class_agnostic: bool = False
) -> Exported:
    """The detector with a head, and its file; made once."""
    cfg = config_of(
        head, classes, test_cfg=dict(nms=dict(type="nms", iou_threshold=0.5, class_agnostic=class_agnostic))
    )
    model = detector_of(cfg)
    request = ExportRequest(contract, preprocessing, with_std=contract != "raw" and head in WITH_STD)
    file = export_model(model, cfg, request)
    session = InferenceSession(file.SerializeToString(), providers=["CPUExecutionProvider"])
    return Exported(cfg, model, file, session)


def sizes_of(count: int, height: int, width: int) -> np.ndarray:
    """(count, 2) height and width of the valid part of each image, all different."""
    return np.array([[height - 5 * number, width - 9 * number] for number in range(count)], np.int64)


def predicted(one: Exported, images: Tensor, sizes: np.ndarray, with_nms: bool) -> list[InstanceData]:
    """What the plugin finds in normalized images."""
    head = one.model.bbox_head
    cfg = head.test_cfg.copy()
    cfg.with_uncertainty = one.description.with_std
    metas = [dict(img_shape=tuple(map(int, size))) for size in sizes]
    with torch.no_grad():
        maps = head(one.model.extract_feat(images))
        return head.predict_by_feat(*maps, batch_img_metas=metas, cfg=cfg, with_nms=with_nms)


def found_in(one: Exported, outputs: dict[str, np.ndarray], images: int) -> list[dict[str, np.ndarray]]:
    """Detections of each image in the outputs of a file."""
    fields = [name for name in outputs if name != "image"]
    if one.description.contract == "nms":
        rows = [outputs["image"] == image for image in range(images)]
        assert (np.diff(outputs["image"]) >= 0).all()
        return [{name: outputs[name][own] for name in fields} for own in rows]
    kept = outputs["scores"] > one.description.score_threshold
    return [{name: outputs[name][image][kept[image]] for name in fields} for image in range(images)]


def assert_equal(what: str, found: dict[str, np.ndarray], expected: InstanceData, ordered: bool) -> None:
    """Each detection has exactly one counterpart, with its label, and with box, score and deviations in tolerance."""
    assert len(found["scores"]) == len(expected)
    if not len(expected):
        return
    apart = np.where(found["labels"][:, None] == expected.labels.numpy(), 0.0, np.inf)
    boxes = np.abs(found["boxes"][:, None] - expected.bboxes.numpy()).max(axis=2)
    scores = np.abs(found["scores"][:, None] - expected.scores.numpy())
    cost = np.maximum(np.maximum(apart, boxes / PIXELS), scores / SCORES)
    if "std" in found:
        std = np.abs(found["std"][:, None] - expected[BBOX_STD].numpy()).max(axis=2)
        cost = np.maximum(cost, std / PIXELS)
    partner = cost.argmin(axis=1)
    rows = np.arange(len(partner))
    assert len(set(partner)) == len(partner) and cost[rows, partner].max() < 1
    record(f"export {what}, boxes, px", boxes[rows, partner].max())
    record(f"export {what}, scores", scores[rows, partner].max())
    if ordered:
        assert (np.diff(found["scores"]) <= 0).all()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("head", BOXES)
def test_boxes_are_those_that_the_plugin_gives_to_nms(head: str, shape: tuple[int, int, int]) -> None:
    """For images of unlike sizes in one batch, whose boxes are clipped to them."""
    one = exported(head, "boxes")
    images, sizes = normalized_images(*shape), sizes_of(*shape)
    found = found_in(one, one.run(images=images.numpy(), sizes=sizes), len(images))
    for own, expected in zip(found, predicted(one, images, sizes, with_nms=False), strict=True):
        assert_equal(f"{head} boxes", own, expected, ordered=False)
        assert len(expected) or shape == SHAPES[1]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("head", BOXES)
def test_the_number_of_boxes_is_fixed_and_unused_places_have_score_0(head: str, shape: tuple[int, int, int]) -> None:
    one = exported(head, "boxes")
    outputs = one.run(images=normalized_images(*shape).numpy(), sizes=sizes_of(*shape))
    count = len(one.description.strides) * one.description.topk
    assert outputs["boxes"].shape == (shape[0], count, 4) and outputs["labels"].dtype == np.int64
    assert np.isfinite(outputs["boxes"]).all() and ("std" in outputs) == (head in WITH_STD)
    if shape == SHAPES[1]:
        assert (outputs["scores"] == 0).any()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_nms_gives_the_plugins_detections(shape: tuple[int, int, int]) -> None:
    one = exported("joint", "nms")
    images, sizes = normalized_images(*shape), sizes_of(*shape)
    found = found_in(one, one.run(images=images.numpy(), sizes=sizes), len(images))
    for own, expected in zip(found, predicted(one, images, sizes, with_nms=True), strict=True):
        assert_equal("joint nms", own, expected, ordered=True)
    candidates = sum(map(len, predicted(one, images, sizes, with_nms=False)))
    kept = sum(len(own["scores"]) for own in found)
    assert kept < candidates or shape == SHAPES[1]


@pytest.mark.parametrize(("head", "contract"), [("joint", "nms"), ("branch_dirac", "boxes"), ("retina", "boxes")])
def test_images_without_an_object(head: str, contract: str) -> None:
    """Alone, and in one batch with an image that has some."""
    one = exported(head, contract)
    black = torch.zeros(1, 3, 64, 64)
    for images in (black, torch.cat([black, normalized_images(1, 64, 64)])):
        sizes = sizes_of(*images.shape[::2][:1], 64, 64)
        found = found_in(one, one.run(images=images.numpy(), sizes=sizes), len(images))
        expected = predicted(one, images, sizes, with_nms=contract == "nms")
        assert len(found[0]["scores"]) == len(expected[0]) == 0
        for own, theirs in zip(found, expected, strict=True):
            assert_equal(f"{head} {contract}", own, theirs, ordered=False)
    assert len(found[1]["scores"])


def grey_images(count: int, height: int, width: int) -> np.ndarray:
    """(count, height, width, 3) uint8 RGB."""
    random = np.random.default_rng(0)
    rough = random.integers(0, 256, (count, height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return rough.repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width]


def results_of(one: Exported, images: np.ndarray, scale: tuple[float, float]) -> list[InstanceData]:
    """What the detector finds in images of its network's size, in pixels of the original image."""
    metas = dict(img_shape=images.shape[1:3], ori_shape=images.shape[1:3], scale_factor=scale)
    batch = dict(
        inputs=[torch.from_numpy(image[:, :, ::-1].copy()).permute(2, 0, 1) for image in images],  # read as BGR
        data_samples=[DetDataSample(metainfo=metas) for _ in images],
    )
    with torch.no_grad():
        return [sample.pred_instances for sample in one.model.test_step(batch)]


@pytest.mark.parametrize("shape", [(2, 70, 100), (1, 64, 96)], ids=str)
def test_normalization_inside(shape: tuple[int, int, int]) -> None:
    """Channels, mean, std and padding; and NMS that ignores the class."""
    one = exported("guided", "nms", "normalize", class_agnostic=True)
    images = grey_images(*shape)
    found = found_in(one, one.run(images=images), len(images))
    for own, expected in zip(found, results_of(one, images, (1.0, 1.0)), strict=True):
        assert len(expected)
        assert_equal("guided nms, normalize", own, expected, ordered=True)


@pytest.mark.parametrize("shape", [(2, 128, 192), (1, 50, 60)], ids=str)
def test_resizing_inside(shape: tuple[int, int, int]) -> None:
    """Boxes are in pixels of the given images; the detector has one class. Pixels: test_input_graph.py."""
    one = exported("branch_dirac", "nms", "resize", classes=1)
    images = grey_images(*shape)
    description = replace(UNCHANGED, preprocessing="resize", size=(96, 64))
    resized, sizes, _ = preprocessed(description, images)
    resized, (height, width) = resized.transpose(0, 2, 3, 1).astype(np.uint8), map(int, sizes[0])
    found = found_in(one, one.run(images=images), len(images))
    for own, expected in zip(found, results_of(one, resized, (width / shape[2], height / shape[1])), strict=True):
        assert len(expected)
        assert_equal("branch_dirac nms, resize", own, expected, ordered=True)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_raw_gives_the_outputs_of_the_head(shape: tuple[int, int, int]) -> None:
    one = exported("branch_dirac", "raw")
    images = normalized_images(*shape)
    outputs = one.run(images=images.numpy())
    with torch.no_grad():
        maps = one.model.bbox_head(one.model.extract_feat(images))
    expected = {
        f"{name}_{level}": values
        for name, levels in zip(("scores", "sides", "quality"), maps, strict=True)
        for level, values in enumerate(levels)
    }
    assert list(outputs) == list(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(outputs[name], values.numpy(), rtol=1e-4, atol=1e-4)


def test_the_file_describes_itself() -> None:
    one = exported("gflv2", "boxes")
    own, head = one.description, one.model.bbox_head
    assert own.classes == ("class 0", "class 1", "class 2") and own.strides == (8,) and own.offset == 0
    assert own.bins == tuple(head.bbox_coder.bins().tolist()) and own.with_std
    assert (own.topk, own.score_threshold, own.iou_threshold, own.max_per_image) == (20, 0.3, 0.5, 12)
    assert own.input.size == (96, 64) and own.input.keep_ratio and own.input.channels == "rgb"
    assert own.input.mean == pytest.approx((123.675, 116.28, 103.53)) and own.input.pad_divisor == 32
    assert own.model == "SingleStageDetector, GFLHead"
    # Scores of branch_dirac are not the class scores that the threshold is for: the file applies it.
    assert exported("branch_dirac", "boxes").description.score_threshold == 0
    assert exported("branch_dirac", "raw").description.score_threshold == 0.3
    assert exported("retina", "boxes").description.bins is None
    assert exported("retina", "boxes").description.strides == (8, 16)


@pytest.mark.parametrize("contract", ["boxes", "nms", "raw"])
def test_the_file_has_standard_operators_and_no_paths_of_this_computer(contract: str) -> None:
    one = exported("branch_dirac" if contract == "raw" else "joint", contract)
    check_standard(one.file)
    assert {opset.domain: opset.version for opset in one.file.opset_import} == {"": 18}
    assert b"/" + b"gfl_plugin" not in one.file.SerializeToString()
    inputs = {one.name: [d.dim_param for d in one.type.tensor_type.shape.dim] for one in one.file.graph.input}
    assert inputs["images"] == ["batch", "", "height", "width"]
    one.file.graph.node[0].domain = "somebody.else"
    try:
        with pytest.raises(ValueError, match="operators that ONNX does not have: somebody.else."):
            check_standard(one.file)
    finally:
        one.file.graph.node[0].domain = ""
