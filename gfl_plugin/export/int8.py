"""An 8-bit copy of an exported file: calibration, and what it costs and gains on images of the config."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from mmengine.config import Config
from torch import nn
from torch.utils.data import Dataset

from ..runtime.atomic_files import write_whole
from .config_images import average_precision, config_image, dataset_of, evenly_spread
from .judged_images import FileSide, JudgedImage, PyTorchSide
from .quantize import quantize

FILE, JSON = "model_int8.onnx", "int8.json"


@dataclass(frozen=True)
class Int8Request:
    """Which images to use."""

    split: str = "val"  # data loader of the config whose images both files are compared on
    images: int = 50  # of that split, at most
    calibration: int = 60  # training images, through the pipeline of the split, at most


@dataclass(frozen=True)
class Int8Result:
    """The 8-bit file compared with the one in fp32."""

    convolutions: int  # in 8 bits
    calibration: int  # training images
    images: int  # of the comparison
    ap: tuple[float | None, float | None]  # percent, fp32 and 8 bits; None without annotations
    milliseconds: tuple[float, float]  # per image of ONNX Runtime: medians, fp32 and 8 bits, each image in turn
    speedup: tuple[float, float, float]  # fp32's time divided by that of 8 bits: quartiles over the images
    bytes: tuple[int, int]  # of the files


def write_int8(
    source: Path,
    model: nn.Module,
    cfg: Config,
    request: Int8Request,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Int8Result:
    """Write ``model_int8.onnx`` and ``int8.json`` beside an exported file.

    Args:
        source: the exported file.
        model: its detector, whose preprocessing is used.
        cfg: its config; it has a train_dataloader.
        request: the images.
        progress: called with the number of finished images and of all.

    Returns:
        The comparison.

    Raises:
        ValueError: if the config lacks a data loader, or an image cannot be read.
        EmptyDatasetError: if a data loader has no images.
    """
    side = FileSide(source, PyTorchSide(model))
    dataset = dataset_of(cfg, request.split)
    training = _training_images(cfg, request.split)
    ours = evenly_spread(len(training), request.calibration)
    numbers = evenly_spread(len(dataset), request.images)
    total = len(ours) + len(numbers)

    def batches() -> Iterator[dict[str, np.ndarray]]:
        for done, number in enumerate(ours):
            progress(done, total)
            image = config_image(training, number).input_of(side.preprocessing)
            inputs = side.inputs([image])
            yield {one.name: inputs[one.name] for one in side.detector.session.get_inputs()}

    target = source.with_name(FILE)
    convolutions = quantize(source, target, batches())
    sides = (side, FileSide(target, PyTorchSide(model)))
    samples, found, times = [], ([], []), []
    for done, number in enumerate(numbers):
        progress(len(ours) + done, total)
        own = config_image(dataset, number)
        image = own.input_of(side.preprocessing)
        samples.append(own.sample)
        for one, detections in zip(sides, found):
            detections += one.detect([image])
        times.append(_times(sides, image))
    ap = tuple(average_precision(samples, own, side.detector.about.classes) for own in found)
    milliseconds = tuple(1e3 * statistics.median(own) for own in zip(*times))
    speedup = tuple(np.quantile([full / small for full, small in times], (0.25, 0.5, 0.75)).tolist())
    sizes = (source.stat().st_size, target.stat().st_size)
    result = Int8Result(convolutions, len(ours), len(numbers), ap, milliseconds, speedup, sizes)
    write_whole(source.with_name(JSON), json.dumps(asdict(result), indent=1) + "\n")
    return result


def _times(sides: Sequence[FileSide], image: JudgedImage) -> tuple[float, float]:
    """Seconds of both files for one image; each has seen an image of this size before."""
    seconds = []
    for side in sides:
        inputs = side.inputs([image])
        start = time.perf_counter()
        side.detector.run(inputs)
        seconds.append(time.perf_counter() - start)
    return tuple(seconds)


def _training_images(cfg: Config, split: str) -> Dataset:
    """The training images as the split's pipeline gives them."""
    settings = cfg.get("train_dataloader")
    if settings is None:
        raise ValueError("the config has no train_dataloader, whose images calibrate the ranges of 8-bit numbers")
    innermost = settings.dataset
    while "dataset" in innermost:  # such as RepeatDataset
        innermost = innermost.dataset
    own = cfg[f"{split}_dataloader"].dataset
    changed = cfg.copy()
    changed.train_dataloader = cfg[f"{split}_dataloader"].copy()
    changed.train_dataloader.dataset = {**innermost, "pipeline": own.pipeline, "test_mode": True}
    return dataset_of(changed, "train")


def as_table(result: Int8Result) -> list[tuple[str, str, str]]:
    """The comparison as rows: what, fp32, 8 bits.

    Args:
        result: the comparison.

    Returns:
        The rows.
    """
    ap = ["-" if value is None else f"{value:.2f}" for value in result.ap]
    return [
        (f"AP of {result.images} images", *ap),
        ("ms per image, median", *(f"{value:.1f}" for value in result.milliseconds)),
        ("size, MB", *(f"{value / 1e6:.2f}" for value in result.bytes)),
    ]
