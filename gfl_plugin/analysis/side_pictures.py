"""Predicts image files, and writes a picture of each with the distributions of box sides."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmcv.transforms import Compose
from mmdet.apis import inference_detector
from mmengine.structures import InstanceData
from PIL import Image
from torch import nn

from ..pictures.pictured_boxes import pictured_boxes, side_bins, side_settings
from ..pictures.read_image import read_rgb
from ..pictures.side_picture import side_picture
from .data_check.sources import sources
from .labelled_images import split_settings
from .side_errors import LoadedDetector

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")  # of images in folders


@dataclass(frozen=True)
class WrittenPicture:
    """What became of an image."""

    image: Path
    picture: Path | None  # None if the image could not be read
    boxes: int  # drawn on it
    error: str  # why there is no picture; "" if there is one
    found: InstanceData | Mapping[str, np.ndarray] | None = None  # all detections of the image
    size: tuple[int, int] = (0, 0)  # width and height of the image


def image_files(named: Sequence[Path]) -> list[Path]:
    """The image files of a command line.

    Args:
        named: files, which need not exist, and folders.

    Returns:
        The files and, in alphabetical order, the images of each folder; each once.

    Raises:
        FileNotFoundError: if no file exists, or a folder has no images.
    """
    files: list[Path] = []
    for path in named:
        if not path.is_dir():
            files.append(path)
            continue
        inside = sorted(one for one in path.iterdir() if one.suffix.lower() in SUFFIXES and one.is_file())
        if not inside:
            raise FileNotFoundError(f"the folder {path} has no images ({', '.join(SUFFIXES)})")
        files.extend(inside)
    if not any(path.is_file() for path in files):
        raise FileNotFoundError(f"image not found: {files[0]}")
    return list(dict.fromkeys(files))


def picture_files(images: Sequence[Path], folder: Path) -> list[Path]:
    """The files to write, one per image, each with another name.

    Args:
        images: the images.
        folder: of the pictures.

    Returns:
        ``NAME.png`` for each image ``NAME.*``; ``NAME_2.png`` for the second one of that name.

    Raises:
        ValueError: if a picture would replace an image.
    """
    given, used, pictures = {image.resolve() for image in images}, set(), []
    for image in images:
        name, number = image.stem, 1
        while name.lower() in used:  # some file systems do not distinguish case
            number += 1
            name = f"{image.stem}_{number}"
        used.add(name.lower())
        pictures.append(folder / f"{name}.png")
        if pictures[-1].resolve() in given:
            raise ValueError(f"the picture of {image} would replace {pictures[-1]}; name another folder with -o")
    return pictures


def write_side_pictures(
    detector: LoadedDetector, images: Sequence[Path], folder: Path, score_thr: float, count: int
) -> Iterator[WrittenPicture]:
    """Predict images, and write their pictures.

    Args:
        detector: a trained detector.
        images: files; those that cannot be read are skipped.
        folder: of the pictures; it must exist.
        score_thr: smallest score of the boxes that are drawn.
        count: number of boxes per picture whose sides are explained.

    Yields:
        What became of each image, in their order.

    Raises:
        ValueError: if a picture would replace an image, or the config has no pipeline for images without labels.
    """
    pipeline = _pipeline(detector)
    head = getattr(detector.model, "bbox_head", None)
    if settings := side_settings(head):
        head.test_cfg.update(settings, score_thr=min(score_thr, head.test_cfg.get("score_thr", 0)))
    classes, bins = detector.model.dataset_meta.get("classes", ()), side_bins(head)

    def find(image: Path, pixels: np.ndarray) -> InstanceData:
        with torch.no_grad():
            return inference_detector(detector.model, str(image), test_pipeline=pipeline).pred_instances

    yield from write_pictures(find, Drawn(classes, bins, score_thr, count), images, folder)


@dataclass(frozen=True)
class Drawn:
    """What is drawn of the detections, see :func:`~gfl_plugin.pictures.pictured_boxes.pictured_boxes`."""

    classes: Sequence[str]
    bins: np.ndarray | None
    score_thr: float
    count: int


def write_pictures(
    find: Callable[[Path, np.ndarray], InstanceData | Mapping[str, np.ndarray]],
    drawn: Drawn,
    images: Sequence[Path],
    folder: Path,
) -> Iterator[WrittenPicture]:
    """Read images, find objects in them, and write their pictures.

    Args:
        find: detections of an image, in its pixels, from its path and its (H, W, 3) uint8 RGB pixels.
        drawn: what is drawn of them.
        images: files; those that cannot be read are skipped.
        folder: of the pictures; it must exist.

    Yields:
        What became of each image, in their order.

    Raises:
        ValueError: if a picture would replace an image.
    """
    for image, picture in zip(images, picture_files(images, folder)):
        try:
            pixels = read_rgb(image)
        except OSError as error:
            missing = not image.is_file()
            yield WrittenPicture(image, None, 0, f"image not found: {image}" if missing else str(error))
            continue
        found = find(image, pixels)
        pictured = pictured_boxes(found, drawn.classes, drawn.bins, drawn.score_thr, drawn.count)
        Image.fromarray(side_picture(pixels, pictured)).save(picture)
        yield WrittenPicture(image, picture, len(pictured.boxes), "", found, (pixels.shape[1], pixels.shape[0]))


def what_is_drawn(head: nn.Module | None) -> str:
    """What the pictures of a head can show.

    Args:
        head: any head, or None.

    Returns:
        A sentence for the user; "" if all can be shown.
    """
    settings = side_settings(head)
    if "with_distributions" in settings:
        return ""
    name = type(head).__name__ if head is not None else "detector without bbox_head"
    coder = getattr(head, "bbox_coder", None)
    described = name if coder is None else f"{name} with bbox_coder {type(coder).__name__}"
    if settings:
        return f"sides of a {described} have no bins: the curves are normal distributions"
    return f"a {described} predicts no uncertainty of box sides: the pictures show boxes only"


def _pipeline(detector: LoadedDetector) -> Compose:
    """The transforms of the test images, or of the validation images."""
    name = "test" if detector.cfg.get("test_dataloader") is not None else "val"
    return Compose(next(iter(sources(split_settings(detector.cfg, name).dataset))).dataset.pipeline)
