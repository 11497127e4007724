"""Images of a config's data set, as its pipeline gives them and as their files hold them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.runner import Runner
from torch.utils.data import Dataset

from ..metrics.coco_metrics import ScoredImage, coco_metrics
from ..metrics.image_boxes import ground_truth
from ..metrics.matching import Boxes
from ..runtime.errors import EmptyDatasetError, in_a_line
from .judged_images import JudgedImage
from .model_description import RESIZE
from .runner import detect
from .runner.detect import Detections


@dataclass(frozen=True)
class ConfigImage:
    """An image of a data set."""

    item: dict  # as the data set gives it
    prepared: JudgedImage  # what the pipeline has made of it
    original: np.ndarray | None  # (H, W, 3) uint8, red, green, blue, of the file; None if the data set does not name it

    @property
    def sample(self) -> DetDataSample:
        """Its metadata and ground truth."""
        return self.item["data_samples"]

    def input_of(self, preprocessing: str) -> JudgedImage:
        """The image that an exported file gets.

        Args:
            preprocessing: of the file, one of PREPROCESSING.

        Returns:
            The original image for a file that resizes, else the prepared one.

        Raises:
            ValueError: if the original image is needed and not known.
        """
        if preprocessing != RESIZE:
            return self.prepared
        if self.original is None:
            raise ValueError(
                "a file that resizes images is run on image files, whose paths PackDetInputs keeps: add 'img_path' to "
                "its meta_keys"
            )
        return JudgedImage(np.ascontiguousarray(self.original[:, :, ::-1]), (1.0, 1.0))


def dataset_of(cfg: Config, split: str) -> Dataset:
    """Build the data set of a data loader.

    Args:
        cfg: the config.
        split: name of the loader without ``_dataloader``.

    Returns:
        The data set, with at least one image.

    Raises:
        ValueError: if the config has no such loader.
        EmptyDatasetError: if it has no images.
    """
    settings = cfg.get(f"{split}_dataloader")
    if settings is None:
        raise ValueError(f"the config has no {split}_dataloader, whose images are needed")
    dataset = Runner.build_dataloader(settings.copy()).dataset
    if not len(dataset):
        raise EmptyDatasetError(f"{split}_dataloader has no images")
    return dataset


def evenly_spread(total: int, count: int) -> list[int]:
    """Numbers of images, evenly spread.

    Args:
        total: number of images.
        count: number of wanted ones.

    Returns:
        Different numbers below ``total``, ascending.
    """
    return np.unique(np.linspace(0, total - 1, min(total, max(count, 1))).round().astype(int)).tolist()


def config_image(dataset: Dataset, number: int) -> ConfigImage:
    """Read an image.

    Args:
        dataset: the data set.
        number: of the image.

    Returns:
        The image.

    Raises:
        ValueError: if it cannot be read.
    """
    try:
        item = dataset[number]
    except Exception as error:  # readers of images fail in many ways
        raise ValueError(f"image {number} of the data set cannot be read ({in_a_line(error)})") from error
    sample: DetDataSample = item["data_samples"]
    pixels = np.ascontiguousarray(item["inputs"].permute(1, 2, 0).numpy())
    path = sample.get("img_path", None)
    return ConfigImage(
        item,
        JudgedImage(pixels, tuple(map(float, sample.get("scale_factor", (1.0, 1.0))[:2]))),
        detect.read_image(path) if path and Path(path).is_file() else None,
    )


def average_precision(
    samples: Sequence[DetDataSample], found: Sequence[Detections], classes: Sequence[str]
) -> float | None:
    """COCO's AP.

    Args:
        samples: ground truth of the images.
        found: detections in the same images.
        classes: names.

    Returns:
        AP in percent; None if the images have no annotations.
    """
    try:
        truths = [ground_truth(one.to_dict()) for one in samples]
    except ValueError:
        return None
    return coco_metrics([_scored(*pair) for pair in zip(truths, found)], classes).metrics["AP"]


def _scored(truth: tuple[Boxes, Boxes], found: Detections) -> ScoredImage:
    return ScoredImage(*truth, Boxes(found.boxes.astype(np.float64), found.labels), found.scores.astype(np.float64))
