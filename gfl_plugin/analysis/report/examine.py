"""Runs one detector over labelled images, and keeps what it finds in files, so that an interrupted run continues."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..progress import ProgressDisplay
from .examination_shards import read_shards, write_shard
from .examined_image import Examination, ExaminedImage
from .image_source import ImageSource, Subject
from .readable_images import Unreadable

SHARD = 64  # images per file, about as many as are lost by an interruption
_NAMED = 5  # unreadable images that a sentence names


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
    source = subject.open()
    own = folder / source.fingerprint
    own.mkdir(parents=True, exist_ok=True)
    images = read_shards(own)
    unreadable = _predict(source, subject.name, own, images, display)
    if not images:
        first = _named(unreadable[0], source)
        raise ValueError(f"none of the {len(unreadable)} images of {source.images} can be read; the first: {first}")
    about = source.about
    return Examination(
        name=subject.name,
        config=about.config,
        checkpoint=about.checkpoint,
        head=about.head,
        classes=about.classes,
        bins=about.bins,
        images=tuple(images[number] for number in sorted(images)),
        missing=(*about.missing, *_missing_images(unreadable, source)),
    )


def _predict(
    source: ImageSource, name: str, folder: Path, images: dict[int, ExaminedImage], display: ProgressDisplay
) -> list[Unreadable]:
    """Add the images that are missing in ``images``, and return those that cannot be read."""
    total = len(source)
    remaining = [number for number in range(total) if number not in images]
    unreadable, new = [], {}
    with display.task(f"predicting {name}", total=total) as task:
        task.update(completed=len(images))
        for batch in source.examined(remaining):
            unreadable.extend(batch.unreadable)
            new.update(batch.images)
            if len(new) >= SHARD:
                write_shard(folder, new)
                images.update(new)
                new = {}
            task.update(completed=len(images) + len(new) + len(unreadable))
    if new:
        write_shard(folder, new)
        images.update(new)
    return unreadable


def _missing_images(unreadable: Sequence[Unreadable], source: ImageSource) -> list[str]:
    if not unreadable:
        return []
    named = "; ".join(_named(one, source) for one in unreadable[:_NAMED])
    more = f"; and {len(unreadable) - _NAMED} more" if len(unreadable) > _NAMED else ""
    count = f"{len(unreadable)} of {len(source)} images"
    return [f"{count} could not be read and are left out of all numbers: {named}{more}."]


def _named(one: Unreadable, source: ImageSource) -> str:
    return f"{source.path(one.number)} ({one.why})"
