"""Compares an exported file with the PyTorch model on images of the config's data set."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

from ..metrics.coco_metrics import ScoredImage, coco_metrics
from ..metrics.image_boxes import ground_truth
from ..metrics.matching import Boxes
from ..runtime.errors import EmptyDatasetError, in_a_line
from .certificate import Case, Certificate
from .detection_difference import difference
from .judged_images import FileSide, JudgedImage, PyTorchSide, detections_of
from .model_description import KEY, NO_PREPROCESSING, RESIZE, ModelDescription
from .runner import detect
from .runner.detect import Detections
from .selection_limits import Limits

_PACKAGES = ("torch", "mmdet", "onnx", "onnxruntime", "numpy", "pillow", "opencv-python")
PYTORCH, ONNX, FILES = "PyTorch", "ONNX Runtime", "detect.py"


@dataclass(frozen=True)
class CertificateRequest:
    """Which images to compare."""

    split: str = "val"  # data loader of the config, without ``_dataloader``
    images: int = 50  # at most; spread evenly over the split
    machine: str = ""  # description of this machine


@dataclass(frozen=True)
class Found:
    """What each side finds in an image of the data set."""

    sample: DetDataSample  # of the data set, with the ground truth
    pipeline: Detections  # of PyTorch, from the config's pipeline
    pytorch: Detections  # from the pixels that the file gets; the same as ``pipeline`` unless the file resizes
    onnx: Detections
    files: Detections | None  # of the runner, from the image file
    pixels: int | None  # largest difference of what the file resizes to OpenCV's, grey levels


def certify(
    path: Path,
    model: nn.Module,
    cfg: Config,
    request: CertificateRequest,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Certificate:
    """Compare an exported file with its PyTorch model.

    Args:
        path: the file.
        model: the detector that it was made from, in eval mode, on the CPU.
        cfg: its config.
        request: the images.
        progress: called with the number of finished images and of all.

    Returns:
        The certificate.

    Raises:
        ValueError: if the config has no such split, or an image cannot be read.
        EmptyDatasetError: if the split has no images.
        DetectError: if ONNX Runtime cannot load the file.
    """
    import onnx

    proto = onnx.load(path)
    description = ModelDescription.from_json({one.key: one.value for one in proto.metadata_props}[KEY])
    with_std = description.with_std
    dataset = _dataset(cfg, request.split)
    numbers = _spread(len(dataset), request.images)
    pytorch = PyTorchSide(model)
    file = FileSide(path, pytorch)
    found, first = [], []
    with _standard_deviations(model, with_std):
        for number in numbers:
            one, image = _found(dataset, number, pytorch, file)
            found.append(one)
            first = [*first, image][:3]
            progress(len(found), len(numbers))
        compare = _Comparison(pytorch, file, _limits(description, model), with_std)
        one_by_one = compare.case(
            "one by one",
            [one.pytorch for one in found],
            [one.onnx for one in found],
            lambda number: pytorch.candidates(_images_of(dataset[numbers[number]], file)[1]),
        )
        cases = (one_by_one, *compare.made(first))
        from_files = None
        if all(one.files is not None for one in found):
            from_files = compare.case("image files", [one.pipeline for one in found], [one.files for one in found])
    pixels = [one.pixels for one in found if one.pixels is not None]
    return Certificate(
        description=description,
        file_hash=hashlib.sha256(path.read_bytes()).hexdigest(),
        opset=next(one.version for one in proto.opset_import if one.domain in ("", "ai.onnx")),
        versions=_versions(description),
        machine=request.machine,
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        split=request.split,
        total=len(dataset),
        cases=cases,
        from_files=from_files,
        pixels=max(pixels, default=None),
        ap=_average_precisions(found, description.classes),
    )


@dataclass(frozen=True)
class _Comparison:
    """Compares both sides."""

    pytorch: PyTorchSide
    file: FileSide
    limits: Limits
    with_std: bool

    def case(
        self,
        name: str,
        found: Sequence[Detections],
        others: Sequence[Detections],
        candidates: Callable[[int], Detections] | None = None,
    ) -> Case:
        return Case(name, difference(found, others, self.limits, self.with_std, candidates))

    def batch(self, name: str, images: Sequence[JudgedImage], together: bool) -> Case:
        batches = [images] if together else [[image] for image in images]
        seen = [[self.file.resized(own) for own in batch] for batch in batches]
        found = [one for batch in seen for one in self.pytorch.detect(batch)]
        others = [one for batch in batches for one in self.file.detect(batch)]
        flat = [image for batch in seen for image in batch]
        return self.case(name, found, others, lambda number: self.pytorch.candidates(flat[number]))

    def made(self, images: Sequence[JudgedImage]) -> Iterator[Case]:
        """Cases that a data set may not have."""
        parts = [image.part(*shares) for image, shares in zip(_repeated(images, 3), ((1, 1), (1, 0.6), (0.7, 1)))]
        padded = self.file.preprocessing == NO_PREPROCESSING  # only these files take images of unlike sizes at once
        yield self.batch("a batch of unlike sizes" if padded else "unlike sizes", parts, together=padded)
        if not padded:
            yield self.batch("a batch of one size", [images[0], images[0].mirrored()], together=True)
        yield self.batch("no object (noise)", [images[0].noise()], together=True)


def _dataset(cfg: Config, split: str) -> Dataset:
    settings = cfg.get(f"{split}_dataloader")
    if settings is None:
        raise ValueError(f"the config has no {split}_dataloader, whose images the certificate needs")
    dataset = Runner.build_dataloader(settings.copy()).dataset
    if not len(dataset):
        raise EmptyDatasetError(f"{split}_dataloader has no images")
    return dataset


def _spread(total: int, count: int) -> list[int]:
    """Numbers of images, evenly spread."""
    return np.unique(np.linspace(0, total - 1, min(total, max(count, 1))).round().astype(int)).tolist()


def _repeated(images: Sequence[JudgedImage], count: int) -> list[JudgedImage]:
    return [images[number % len(images)] for number in range(count)]


def _found(dataset: Dataset, number: int, pytorch: PyTorchSide, file: FileSide) -> tuple[Found, JudgedImage]:
    """What each side finds in an image, and the image that the file got."""
    try:
        item = dataset[number]
    except Exception as error:  # readers of images fail in many ways
        raise ValueError(f"image {number} of the data set cannot be read ({in_a_line(error)})") from error
    sample: DetDataSample = item["data_samples"]
    judged, seen = _images_of(item, file)
    with torch.no_grad():
        pipeline = detections_of(pytorch.model.test_step(pseudo_collate([item]))[0].pred_instances)
    (same,) = (pipeline,) if file.preprocessing != RESIZE else pytorch.detect([seen])
    (onnx,) = file.detect([judged])
    original = _read(sample)
    files = None if original is None else file.detector(original)
    pixels = _difference_to_opencv(judged, seen) if file.preprocessing == RESIZE else None
    return Found(sample, pipeline, same, onnx, files, pixels), judged


def _images_of(item: dict, file: FileSide) -> tuple[JudgedImage, JudgedImage]:
    """An image of the data set as the file gets it, and as the network sees it."""
    sample: DetDataSample = item["data_samples"]
    if file.preprocessing != RESIZE:
        pixels = np.ascontiguousarray(item["inputs"].permute(1, 2, 0).numpy())
        image = JudgedImage(pixels, tuple(map(float, sample.get("scale_factor", (1.0, 1.0))[:2])))
        return image, image
    original = _read(sample)
    if original is None:
        raise ValueError(
            "the certificate of a file that resizes images needs image files, whose paths PackDetInputs keeps: add "
            "'img_path' to its meta_keys"
        )
    image = JudgedImage(np.ascontiguousarray(original[:, :, ::-1]), (1.0, 1.0))
    return image, file.resized(image)


def _read(sample: DetDataSample) -> np.ndarray | None:
    """(H, W, 3) red, green, blue, the image file of a sample, if it names one."""
    path = sample.get("img_path", None)
    return detect.read_image(path) if path and Path(path).is_file() else None


def _difference_to_opencv(image: JudgedImage, resized: JudgedImage) -> int:
    """Largest difference in grey levels."""
    height, width = resized.pixels.shape[:2]
    return int(np.abs(detect.resize(image.pixels, (width, height)).astype(int) - resized.pixels).max())


def _limits(description: ModelDescription, model: nn.Module) -> Limits:
    settings = model.bbox_head.test_cfg or {}
    return Limits(
        # As the model has it: a file whose scores include a quality has applied its threshold already.
        score_threshold=float(settings.get("score_thr", 0.0)),
        max_per_image=description.max_per_image,
        iou_threshold=description.iou_threshold,
        class_agnostic=description.class_agnostic,
    )


def _average_precisions(found: Sequence[Found], classes: Sequence[str]) -> dict[str, float]:
    """AP of each side in percent; empty without annotations."""
    try:
        truths = [ground_truth(one.sample.to_dict()) for one in found]
    except ValueError:
        return {}
    sides = {PYTORCH: [one.pipeline for one in found], ONNX: [one.onnx for one in found]}
    if all(one.files is not None for one in found):
        sides[FILES] = [one.files for one in found]
    return {
        name: coco_metrics([_scored(*pair) for pair in zip(truths, own)], classes).metrics["AP"]
        for name, own in sides.items()
    }


def _scored(truth: tuple[Boxes, Boxes], found: Detections) -> ScoredImage:
    return ScoredImage(*truth, Boxes(found.boxes.astype(np.float64), found.labels), found.scores.astype(np.float64))


@contextlib.contextmanager
def _standard_deviations(model: nn.Module, wanted: bool) -> Iterator[None]:
    """Let a head give standard deviations while the context lasts."""
    head, before = model.bbox_head, model.bbox_head.test_cfg
    try:
        if wanted:
            head.test_cfg = {**before, "with_uncertainty": True}
        yield
    finally:
        head.test_cfg = before


def _versions(description: ModelDescription) -> dict[str, str]:
    versions = {"gfl_plugin": description.version}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # another build of it, such as opencv-python-headless
            versions[package] = "?"
    return versions
