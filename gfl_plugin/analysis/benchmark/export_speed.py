"""Whole images through MMDetection's test in PyTorch, and through exported files."""

from __future__ import annotations

import copy
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from torch import nn

from ...export.detection_difference import difference
from ...export.export_model import ExportRequest, export_model, write_model
from ...export.judged_images import detections_of
from ...export.model_description import BOXES, NMS, NORMALIZE
from ...export.quantize import quantize
from ...export.runner.detect import Detections, Detector
from ...export.selection_limits import Limits
from ...runtime.install_advice import module_or_advice
from .checks import Disagreement
from .detector import Scene, build_detectors, raise_scores
from .paired_cost import alternate_times
from .settings import Report

_MEAN, _STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
# Factors of the last layers' random weights: trained heads have different scores and different sizes of boxes.
_SPREAD_CLASSES, _SPREAD_SIDES = 30.0, 5.0
_BOX_LIMIT, _SCORE_LIMIT = 1e-2, 1e-4  # of agreement: pixels; with random weights, activations are larger than usual
_PAUSE = 0.2  # seconds between two calls, for the threads of the previous runtime to stop

Call = Callable[[], Detections]


@dataclass(frozen=True)
class ExportSpeed:
    """Time of one way to find the objects in an image."""

    name: str
    milliseconds: float  # median per image
    ratio: float  # time of MMDetection's test divided by this one: the median over the turns
    low: float  # first quartile of the turns' ratios
    high: float  # third quartile
    agreement: str  # largest differences from MMDetection's detections, or why they are not compared


@dataclass(frozen=True)
class ExportCase:
    """What is measured."""

    depth: int = 18  # of ResNet, 18 or 50
    size: int = 640  # side of the image, pixels
    classes: int = 80
    above: int = 1000  # scores above the threshold
    runs: int = 11  # counted turns
    threads: int = 2  # of PyTorch and of ONNX Runtime
    small: bool = False  # a quarter of the width and half of the tower's depth, as in the demo's model


@torch.no_grad()
def export_speed(case: ExportCase, report: Report = lambda name: None) -> list[ExportSpeed]:
    """Time MMDetection's test and exported files in turns, from an image to its detections.

    All get the same image of noise as whole numbers, normalize it, and give the detections after NMS. MMDetection's
    head, the plugin's, and the files have the same weights, except that the file with Dirac sides has another last box
    convolution. 8-bit files are calibrated on noise, which does not matter for their time.

    Args:
        case: what is measured.
        report: function that is called with the name of the current measurement.

    Returns:
        One row per way, MMDetection's first.

    Raises:
        Disagreement: if the detections differ.
        MissingPackageError: if a package of the extra ``[export]`` is missing.
    """
    torch.set_num_threads(case.threads)
    image = np.random.default_rng(0).integers(0, 256, (case.size, case.size, 3), np.uint8)
    theirs, ours = _detectors(case, image)
    calls: dict[str, Call] = {
        "MMDetection's head, PyTorch": lambda: _tested(theirs, image),
        "GFLHead, PyTorch": lambda: _tested(ours, image),
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, path in _files(ours, case, Path(folder), report).items():
            calls[name] = _runner(path, image, case.threads)
            if name == "ONNX Runtime, boxes" and (openvino := _openvino(path, image, case.threads)):
                calls["OpenVINO, boxes"] = openvino
        report("comparing detections")
        agreement = agreement_texts(calls, ours)
        report(f"ResNet-{case.depth}")
        times = alternate_times(list(calls.values()), case.runs, "cpu", _PAUSE)
    return [_row(name, agreement[name], [(one[0], one[place]) for one in times]) for place, name in enumerate(calls)]


def _detectors(case: ExportCase, image: np.ndarray) -> tuple[nn.Module, nn.Module]:
    """Detectors with each of the two heads, and as many scores above the threshold as a trained one has."""
    torch.manual_seed(0)
    theirs, ours = build_detectors(case.depth, case.classes, case.small, device="cpu")
    preprocessor = dict(type="mmdet.DetDataPreprocessor", mean=_MEAN, std=_STD, bgr_to_rgb=True, pad_size_divisor=32)
    theirs.bbox_head.gfl_cls.weight *= _SPREAD_CLASSES
    theirs.bbox_head.gfl_reg.weight *= _SPREAD_SIDES
    for detector in (theirs, ours):
        detector.data_preprocessor = MODELS.build(preprocessor)
    given = theirs.data_preprocessor({"inputs": [_tensor(image)], "data_samples": [_sample(image)]})
    raise_scores(theirs, Scene(given["inputs"], given["data_samples"]), case.above)
    ours.load_state_dict(theirs.state_dict())
    return theirs.eval(), ours.eval()


def _tensor(image: np.ndarray) -> torch.Tensor:
    """(3, H, W) blue, green, red, as MMDetection reads images."""
    return torch.from_numpy(np.ascontiguousarray(image[:, :, ::-1])).permute(2, 0, 1)


def _sample(image: np.ndarray) -> DetDataSample:
    shape = image.shape[:2]
    return DetDataSample(metainfo=dict(img_shape=shape, ori_shape=shape, scale_factor=(1.0, 1.0)))


def _tested(detector: nn.Module, image: np.ndarray) -> Detections:
    with torch.no_grad():
        (found,) = detector.test_step({"inputs": [_tensor(image)], "data_samples": [_sample(image)]})
    return detections_of(found.pred_instances)


def _files(ours: nn.Module, case: ExportCase, folder: Path, report: Report) -> dict[str, Path]:
    """Files by name."""
    paths = {}
    for name, model, request in (
        ("boxes", ours, ExportRequest(BOXES, NORMALIZE)),
        ("nms", ours, ExportRequest(NMS, NORMALIZE)),
        ("boxes, with std", ours, ExportRequest(BOXES, NORMALIZE, with_std=True)),
        ("boxes, Dirac sides", _with_dirac_sides(ours), ExportRequest(BOXES, NORMALIZE)),
    ):
        report(f"exporting {name}")
        place = folder / str(len(paths))
        place.mkdir()
        paths[f"ONNX Runtime, {name}"] = write_model(export_model(model, Config(), request), place)
    report("calibrating 8 bits")
    random = np.random.default_rng(1)
    noise = ({"images": random.integers(0, 256, (1, case.size, case.size, 3), np.uint8)} for _ in range(2))
    target = folder / "int8.onnx"
    quantize(paths["ONNX Runtime, boxes"], target, noise)
    return {**paths, "ONNX Runtime, boxes, 8 bits": target}


def _with_dirac_sides(ours: nn.Module) -> nn.Module:
    """The detector with one number per side."""
    head = ours.bbox_head
    config = dict(
        type="gfl_plugin.GFLHead", num_classes=head.num_classes, in_channels=head.in_channels,
        feat_channels=head.feat_channels, stacked_convs=head.stacked_convs, bbox_coder=dict(type="DiracBBoxCoder"),
        anchor_generator=dict(type="AnchorGenerator", ratios=[1.0], octave_base_scale=8, scales_per_octave=1,
                              strides=[stride[0] for stride in head.prior_generator.strides]),
        test_cfg=dict(head.test_cfg),
    )  # fmt: skip
    other = MODELS.build(config).eval()
    kept = {name: value for name, value in head.state_dict().items() if not name.startswith(("gfl_reg.", "integral."))}
    other.load_state_dict(kept, strict=False)
    changed = copy.deepcopy(ours)
    changed.bbox_head = other
    return changed


def _runner(path: Path, image: np.ndarray, threads: int) -> Call:
    detector = Detector(path, threads)
    return lambda: detector(image)


def _openvino(path: Path, image: np.ndarray, threads: int) -> Call | None:
    """The same file with OpenVINO, where that is installed."""
    try:
        openvino = module_or_advice("openvino", "export")
    except ImportError:
        return None
    options = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    network = openvino.Core().compile_model(str(path), "CPU", options)
    detector = Detector(path, threads)  # for what comes before and after the network
    wanted = {one.any_name for one in network.inputs}

    def run() -> Detections:
        inputs, scale = detector.prepare(image)
        found = network({name: value for name, value in inputs.items() if name in wanted})
        outputs = {output.any_name: value for output, value in found.items()}
        return detector.finish(outputs, inputs["sizes"], [scale])[0]

    return run


def agreement_texts(calls: dict[str, Call], ours: nn.Module) -> dict[str, str]:
    """Compare what the ways find.

    Args:
        calls: MMDetection's first. Files with Dirac sides or 8 bits have other numbers and are not compared.
        ours: a detector with the test settings of all.

    Returns:
        Differences from the first one's detections, by name.

    Raises:
        Disagreement: if a difference is above the limits, or a detection is missing.
    """
    settings = ours.bbox_head.test_cfg
    limits = Limits(
        score_threshold=settings.score_thr,
        max_per_image=settings.max_per_img,
        iou_threshold=settings.nms.iou_threshold,
        class_agnostic=False,
    )
    first, texts = None, {}
    for name, call in calls.items():
        found = call()
        if first is None:
            first, texts[name] = found, f"{len(found)} detections"
        elif "Dirac" in name or "8 bits" in name:
            texts[name] = "other numbers"
        else:
            own = difference([first], [found], limits)
            texts[name] = f"boxes {own.boxes:.1e} px, scores {own.scores:.1e}, {own.borderline} borderline"
            if own.one_sided or own.boxes > _BOX_LIMIT or own.scores > _SCORE_LIMIT:
                raise Disagreement(f"{name}: {texts[name]}, {own.one_sided} on one side only")
    return texts


def _row(name: str, agreement: str, pairs: list[tuple[float, float]]) -> ExportSpeed:
    ratios = [first / own for first, own in pairs]
    low, _, high = statistics.quantiles(ratios, n=4)
    return ExportSpeed(
        name, 1000 * statistics.median(own for _, own in pairs), statistics.median(ratios), low, high, agreement
    )
