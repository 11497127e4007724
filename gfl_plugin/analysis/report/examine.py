"""Runs one detector over labelled images, and keeps what it finds in files, so that an interrupted run continues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config
from torch import nn
from torch.utils.data import DataLoader, Dataset

from ..labelled_images import labelled_loader
from ..progress import ProgressDisplay
from ..side_errors import load_detector
from ..trained_classes import class_names
from .examination_shards import read_shards, write_shard
from .examined_head import REPLACED, ask_for_sides, bins_of, class_count, description, missing_sides
from .examined_image import Examination, ExaminedImage
from .examined_result import examined_image
from .readable_images import ReadBatch, Unreadable, readable_loader
from .run_fingerprint import run_fingerprint

SHARD = 64  # images per file, about as many as are lost by an interruption
_NAMED = 5  # unreadable images that a sentence names


@dataclass(frozen=True)
class Subject:
    """A model and the images to examine."""

    name: str  # of the model, unique in a report
    config: str  # as given by the user
    cfg: Config  # its content
    checkpoint: Path
    split: str  # data loader of the config, without ``_dataloader``


def examine(subject: Subject, folder: Path, display: ProgressDisplay) -> Examination:
    """Predict all images of a data set that have not been predicted before.

    Args:
        subject: the model and the images.
        folder: for the predictions. Those of each config, checkpoint and data set are in a subfolder of their own.
        display: shows the progress.

    Returns:
        What the model finds. Images that cannot be read are left out, and ``missing`` names them.

    Raises:
        FileNotFoundError: if there is no such checkpoint.
        CheckpointError: if the file is not a checkpoint.
        EmptyDatasetError: if there are no images.
        ValueError: if the config has no such split, the images have no ground truth, the classes differ from those of
            the checkpoint, or no image can be read.
    """
    detector = load_detector(subject.cfg, subject.checkpoint, **dict.fromkeys(REPLACED))
    ask_for_sides(detector)
    model = detector.model
    loader = labelled_loader(detector.cfg, subject.split)
    dataset = loader.dataset
    classes = class_names(model, dataset, class_count(model, dataset))
    own = folder / run_fingerprint(detector.cfg, subject.checkpoint, dataset, subject.split)
    own.mkdir(parents=True, exist_ok=True)
    images = read_shards(own)
    unreadable = _predict(model, loader, subject.name, own, images, display)
    if not images:
        first = _named(unreadable[0], dataset)
        raise ValueError(
            f"none of the {len(unreadable)} images of {subject.split}_dataloader can be read; the first: {first}"
        )
    return Examination(
        name=subject.name,
        config=subject.config,
        checkpoint=str(subject.checkpoint),
        head=description(model),
        classes=classes,
        bins=bins_of(model),
        images=tuple(images[number] for number in sorted(images)),
        missing=(*missing_sides(model), *_missing_images(unreadable, dataset)),
    )


def _predict(
    model: nn.Module,
    loader: DataLoader,
    name: str,
    folder: Path,
    images: dict[int, ExaminedImage],
    display: ProgressDisplay,
) -> list[Unreadable]:
    """Add the images that are missing in ``images``, and return those that cannot be read."""
    total = len(loader.dataset)
    remaining = [number for number in range(total) if number not in images]
    unreadable, new = [], {}
    with display.task(f"predicting {name}", total=total) as task, torch.no_grad():
        task.update(completed=len(images))
        for batch in readable_loader(loader, remaining):
            unreadable.extend(batch.unreadable)
            new.update(_examined(model, batch, loader.dataset))
            if len(new) >= SHARD:
                write_shard(folder, new)
                images.update(new)
                new = {}
            task.update(completed=len(images) + len(new) + len(unreadable))
    if new:
        write_shard(folder, new)
        images.update(new)
    return unreadable


def _examined(model: nn.Module, batch: ReadBatch, dataset: Dataset) -> dict[int, ExaminedImage]:
    if batch.batch is None:
        return {}
    samples = zip(batch.numbers, model.test_step(batch.batch))
    return {number: examined_image(one.to_dict(), _info(dataset, number), number) for number, one in samples}


def _info(dataset: Dataset, number: int) -> Mapping:
    return dataset.get_data_info(number) if hasattr(dataset, "get_data_info") else {}


def _missing_images(unreadable: Sequence[Unreadable], dataset: Dataset) -> list[str]:
    if not unreadable:
        return []
    named = "; ".join(_named(one, dataset) for one in unreadable[:_NAMED])
    more = f"; and {len(unreadable) - _NAMED} more" if len(unreadable) > _NAMED else ""
    count = f"{len(unreadable)} of {len(dataset)} images"
    return [f"{count} could not be read and are left out of all numbers: {named}{more}."]


def _named(one: Unreadable, dataset: Dataset) -> str:
    return f"{_info(dataset, one.number).get('img_path', f'image {one.number}')} ({one.why})"
