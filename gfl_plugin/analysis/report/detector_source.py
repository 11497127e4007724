"""A config with a checkpoint, run by PyTorch over a data loader of the config, as a source of examined images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config
from torch import nn
from torch.utils.data import DataLoader, Dataset

from ..labelled_images import labelled_loader
from ..side_errors import load_detector
from ..trained_classes import class_names
from .examined_head import REPLACED, ask_for_sides, bins_of, class_count, description, missing_sides
from .examined_result import examined_image
from .image_source import AboutModel, ExaminedBatch
from .readable_images import readable_loader
from .run_fingerprint import run_fingerprint


@dataclass(frozen=True)
class DetectorSubject:
    """A model and the images to examine."""

    name: str  # of the model, unique in a report
    config: str  # as given by the user
    cfg: Config  # its content
    checkpoint: Path
    split: str  # data loader of the config, without ``_dataloader``

    def open(self) -> DetectorSource:
        """Load the model and the labels.

        Returns:
            The source.

        Raises:
            FileNotFoundError: if there is no such checkpoint.
            CheckpointError: if the file is not a checkpoint.
            EmptyDatasetError: if there are no images.
            ValueError: if the config has no such split, or the classes differ from those of the checkpoint.
        """
        detector = load_detector(self.cfg, self.checkpoint, **dict.fromkeys(REPLACED))
        ask_for_sides(detector)
        model = detector.model
        loader = labelled_loader(detector.cfg, self.split)
        about = AboutModel(
            config=self.config,
            checkpoint=str(self.checkpoint),
            head=description(model),
            classes=class_names(model, loader.dataset, class_count(model, loader.dataset)),
            bins=bins_of(model),
            missing=missing_sides(model),
        )
        fingerprint = run_fingerprint(detector.cfg, self.checkpoint, loader.dataset, self.split)
        return DetectorSource(about, f"{self.split}_dataloader", fingerprint, model, loader)


@dataclass(frozen=True)
class DetectorSource:
    """A detector with its images; see :class:`~gfl_plugin.analysis.report.image_source.ImageSource`."""

    about: AboutModel
    images: str
    fingerprint: str
    model: nn.Module
    loader: DataLoader

    def __len__(self) -> int:
        return len(self.loader.dataset)

    def examined(self, numbers: Sequence[int]) -> Iterator[ExaminedBatch]:
        """Predict images.

        Args:
            numbers: of the images.

        Yields:
            The images of each batch.

        Raises:
            ValueError: if the images have no ground truth.
        """
        for batch in readable_loader(self.loader, numbers):
            results = []
            if batch.batch is not None:
                with torch.no_grad():
                    results = self.model.test_step(batch.batch)
            images = {
                number: examined_image(one.to_dict(), info_of(self.loader.dataset, number), number)
                for number, one in zip(batch.numbers, results)
            }
            yield ExaminedBatch(images, batch.unreadable)

    def path(self, number: int) -> str:
        """Name an image.

        Args:
            number: of the image.

        Returns:
            Path of its file.
        """
        return str(info_of(self.loader.dataset, number).get("img_path", f"image {number}"))


def info_of(dataset: Dataset, number: int) -> Mapping:
    """What a data set says about an image.

    Args:
        dataset: perhaps without MMEngine's ``get_data_info``.
        number: of the image.

    Returns:
        The values; empty if the data set says nothing.
    """
    return dataset.get_data_info(number) if hasattr(dataset, "get_data_info") else {}
