"""Writes a detector as an ONNX model that describes itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from mmdet.models.detectors import SingleStageDetector
from mmengine.config import Config
from torch import nn

from ..heads.postprocess import is_greedy
from ..runtime.atomic_files import write_whole
from ..runtime.install_advice import module_or_advice
from ..runtime.published_weights import hash_of
from .box_decoding import decoding_of
from .input_graph import IMAGES, SCALE, SIZES, with_preprocessing
from .model_description import BOXES, KEY, NMS, NO_PREPROCESSING, RAW, RESIZE, ModelDescription
from .network import BoxNetwork, DetectionNetwork, RawNetwork, Selection
from .preprocessing import input_of
from .write_onnx import OLDEST_OPSET, check_opset, check_standard, onnx_model

if TYPE_CHECKING:
    import onnx

FILE = "model.onnx"
PACKAGES = ("onnx", "onnxscript", "onnxruntime", "PIL")
RAW_OUTPUTS = ("scores", "sides", "quality")  # followed by _ and the number of the level
MAX_BYTES = 2**31 - 1  # of a file without external data


@dataclass(frozen=True)
class ExportRequest:
    """What a file is to contain; see docs/export.md."""

    contract: str = BOXES  # one of CONTRACTS
    preprocessing: str = NO_PREPROCESSING  # one of PREPROCESSING
    with_std: bool = False
    topk: int | None = None  # class scores per level; None for test_cfg.nms_pre
    opset: int = OLDEST_OPSET


def check_request(request: ExportRequest) -> None:
    """Check packages and settings before a model is built.

    Args:
        request: what a file is to contain.

    Raises:
        MissingPackageError: if a package of the extra ``[export]`` is missing; the message says what installs it.
        ValueError: for a setting that is outside of its range.
    """
    for package in PACKAGES:
        module_or_advice(package, "export")
    check_opset(request.opset)
    if request.topk is not None and request.topk < 1:
        raise ValueError(f"--topk is {request.topk}; it must be 1 or more")
    if request.with_std and request.contract == RAW:
        raise ValueError("--with-std is for boxes; the contract raw gives the numbers that deviations follow from")


def export_model(model: nn.Module, cfg: Config, request: ExportRequest) -> onnx.ModelProto:
    """Convert a detector.

    Args:
        model: the detector with its trained weights, in eval mode, on the CPU; ``dataset_meta`` has the classes.
        cfg: its config.
        request: what the file is to contain.

    Returns:
        The model; its metadata ``gfl_plugin`` is a :class:`ModelDescription`.

    Raises:
        ValueError: for a detector, a head or settings that are not supported.
        MissingPackageError: if a package of the extra ``[export]`` is missing.
    """
    check_request(request)
    description = describe(model, cfg, request)
    network, outputs = _network(model, description)
    inputs = [IMAGES]
    if request.contract != RAW:
        inputs += [SIZES, SCALE] if request.preprocessing == RESIZE else [SIZES]
    converted = onnx_model(network.eval(), _recorded_size(description), inputs, outputs, request.opset)
    if request.preprocessing != NO_PREPROCESSING:
        converted = with_preprocessing(converted, description.input)
    _set_metadata(converted, description)
    check_standard(converted)
    return converted


def write_model(model: onnx.ModelProto, folder: Path) -> Path:
    """Write a converted model.

    Args:
        model: the model.
        folder: an existing folder.

    Returns:
        The file.

    Raises:
        ValueError: if it is larger than one file can be.
        OSError: if it cannot be written.
    """
    if model.ByteSize() > MAX_BYTES:
        raise ValueError(f"the model has {model.ByteSize() / 2**30:.1f} GiB; an ONNX file can have 2 GiB")
    write_whole(folder / FILE, model.SerializeToString())
    return folder / FILE


def describe(model: nn.Module, cfg: Config, request: ExportRequest) -> ModelDescription:
    """What an exported file says about itself.

    Args:
        model: as :func:`export_model`.
        cfg: as :func:`export_model`.
        request: as :func:`export_model`.

    Returns:
        The description.

    Raises:
        ValueError: for a detector, a head or settings that are not supported.
    """
    from gfl_plugin import __version__

    head = head_of(model)
    decoding = decoding_of(head)
    _check_layers(model)
    settings = head.test_cfg or {}
    nms = settings.get("nms") or {}
    if request.contract != RAW and not is_greedy(nms):
        raise ValueError(
            f"test_cfg.nms is {dict(nms)}; gfl-plugin export takes the plain NMS: write "
            "model = dict(test_cfg=dict(nms=dict(_delete_=True, type='nms', iou_threshold=0.6)))"
        )
    if request.with_std and not decoding.has_std:
        raise ValueError(_why_no_std(head))
    threshold = float(settings.get("score_thr", 0.0))
    in_file = decoding.changes_scores and request.contract == BOXES  # scores that do not pass it are 0 then
    return ModelDescription(
        contract=request.contract,
        model=f"{type(model).__name__}, {type(head).__name__}",
        classes=_classes(model, cfg, head.num_classes),
        input=input_of(model, cfg, request.preprocessing),
        strides=decoding.strides,
        offset=decoding.offset,
        bins=decoding.bins,
        with_std=request.with_std,
        score_threshold=0.0 if in_file else threshold,
        topk=_topk(request, settings),
        iou_threshold=float(nms.get("iou_threshold", 0.6)),
        class_agnostic=bool(nms.get("class_agnostic", False)),
        max_per_image=int(settings.get("max_per_img", 100)),
        weights_hash=hash_of(model.state_dict(), {}),
        version=__version__,
        min_box_size=float(settings.get("min_bbox_size", -1)),
    )


def head_of(model: nn.Module) -> nn.Module:
    """The dense head of a single-stage detector.

    Args:
        model: the detector.

    Returns:
        Its head.

    Raises:
        ValueError: for another detector.
    """
    if not isinstance(model, SingleStageDetector) or getattr(model, "bbox_head", None) is None:
        raise ValueError(
            f"the detector is a {type(model).__name__}; gfl-plugin export takes single-stage detectors: those of "
            "MMDetection's SingleStageDetector, with one bbox_head"
        )
    return model.bbox_head


def _check_layers(model: nn.Module) -> None:
    """Check that there is no layer that PyTorch is known not to record; its own message would not name it."""
    deformable = sorted({type(layer).__name__ for layer in model.modules() if "DeformConv" in type(layer).__name__})
    if deformable:
        raise ValueError(
            f"the detector has deformable convolutions of mmcv ({', '.join(deformable)}), which PyTorch cannot export; "
            "train it without dcn and stage_with_dcn of the backbone"
        )


def _network(model: nn.Module, description: ModelDescription) -> tuple[nn.Module, list[str]]:
    """The module to convert, and the names of its outputs."""
    decoding = decoding_of(model.bbox_head)
    if description.contract == RAW:
        levels, network = len(description.strides), RawNetwork(model)
        with torch.no_grad():
            maps = len(network(torch.zeros(1, 3, *_recorded_size(description))))
        return network, [f"{name}_{level}" for name in RAW_OUTPUTS[: maps // levels] for level in range(levels)]
    settings = model.bbox_head.test_cfg or {}
    threshold = float(settings.get("score_thr", 0.0))
    selection = Selection(
        topk=description.topk,
        with_std=description.with_std,
        class_threshold=threshold,
        min_size=_min_size(description),
        score_threshold=0.0 if decoding.changes_scores else threshold,
        iou_threshold=description.iou_threshold,
        class_agnostic=description.class_agnostic,
        max_per_image=description.max_per_image,
    )
    std = ["std"] if description.with_std else []
    if description.contract == NMS:
        return DetectionNetwork(model, selection), ["image", "boxes", "scores", "labels", *std]
    return BoxNetwork(model, selection), ["boxes", "scores", "labels", *std]


def _min_size(description: ModelDescription) -> float:
    """The size that the file compares boxes with; in pixels that are not the original image's, only 0 has a meaning."""
    own = description.min_box_size
    return own if description.input.preprocessing == RESIZE else min(own, 0.0)


def _recorded_size(description: ModelDescription) -> tuple[int, int]:
    """Height and width of the images that a network is recorded with: SSD512 cannot take small ones."""
    width, height = (max(256, 64 * math.ceil(side / 64)) for side in description.input.size or (320, 256))
    return height, width + 64 * (height == width)  # equal sides would be taken as always equal


def _topk(request: ExportRequest, settings: dict) -> int:
    """Class scores per level."""
    topk = settings.get("nms_pre", -1) if request.topk is None else request.topk
    if topk < 1 and request.contract != RAW:
        raise ValueError(
            f"test_cfg.nms_pre is {topk}, which keeps all class scores; a file needs a fixed number: --topk 1000"
        )
    return int(topk)


def _classes(model: nn.Module, cfg: Config, count: int) -> tuple[str, ...]:
    """Names of the classes: those of the checkpoint or else of the config; numbers where neither has them."""
    for name in ("test_dataloader", "val_dataloader", "train_dataloader"):
        metainfo = ((cfg.get(name) or {}).get("dataset") or {}).get("metainfo") or {}
        known = [getattr(model, "dataset_meta", None) or {}, metainfo]
        for classes in (tuple(one.get("classes", ())) for one in known):
            if len(classes) == count:
                return classes
    return tuple(map(str, range(count)))


def _why_no_std(head: nn.Module) -> str:
    return (
        f"--with-std: boxes of a {type(head).__name__} with a {type(head.bbox_coder).__name__} have no standard "
        "deviations; they need gfl_plugin's GFLHead with an IntegralBBoxCoder or a GaussianBBoxCoder"
    )


def _set_metadata(model: onnx.ModelProto, description: ModelDescription) -> None:
    from onnx import helper

    helper.set_model_props(model, {KEY: description.to_json(), "classes": "\n".join(description.classes)})
    model.producer_name, model.producer_version = "gfl_plugin", description.version
