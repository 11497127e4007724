"""The labelled images of a config as a trained detector sees them: not augmented, with boxes in original pixels."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner
from torch.utils.data import DataLoader, Dataset

from ..runtime.errors import EmptyDatasetError
from .data_check.sources import plain_name, sources

SPLITS = ("val", "test", "train")  # each is a data loader of the config, NAME_dataloader
_LOADS = "LoadAnnotations"
# Parts of the names of MMDetection's transforms that move boxes when they follow LoadAnnotations.
_MOVE_BOXES = re.compile(r"Resize|Flip|Crop|Affine|Mosaic|MixUp|Expand|Shift|Rotate|Translate|Shear|GeomTransform")


def labelled_loader(cfg: Config, split: str) -> DataLoader:
    """The data loader of a split.

    Args:
        cfg: a complete config.
        split: one of ``SPLITS``. Images of ``train`` go through the pipeline of ``val`` (or ``test``), each once: the
            pipeline of training changes the images at random, and gives boxes in pixels of the changed image.

    Returns:
        The data loader; it reads each image once.

    Raises:
        ValueError: if the config has no such split, or its pipeline moves the boxes.
        EmptyDatasetError: if the split has no images.
    """
    settings = split_settings(cfg, split)
    if split == "train":
        settings = _without_augmentation(cfg, settings)
    for source in sources(settings.dataset):
        _check_order(f"{split}_dataloader", source.dataset.get("pipeline") or ())
    loader = Runner.build_dataloader(settings)
    if not len(loader.dataset):
        raise EmptyDatasetError(f"{split}_dataloader has no images")
    return loader


def split_settings(cfg: Config, split: str) -> ConfigDict:
    """The settings of a data loader.

    Args:
        cfg: a complete config.
        split: one of ``SPLITS``.

    Returns:
        A copy.

    Raises:
        ValueError: if the config has no such split.
    """
    settings = cfg.get(f"{split}_dataloader")
    if settings is None:
        raise ValueError(f"the config has no {split}_dataloader")
    return settings.copy()


def shared_images(one: Dataset, other: Dataset) -> int:
    """The number of images that two datasets have in common.

    Args:
        one: a dataset.
        other: a dataset.

    Returns:
        The number of their common paths; 0 if a dataset does not name the files of its images.
    """
    return len({*_paths(one)} & {*_paths(other)})


def _paths(dataset: Dataset) -> Iterator[str]:
    if not hasattr(dataset, "get_data_info"):
        return
    for index in range(len(dataset)):
        path = dataset.get_data_info(index).get("img_path")
        if path is not None:
            yield str(path)


def _without_augmentation(cfg: Config, settings: ConfigDict) -> ConfigDict:
    """Settings that read each training image once, in the pipeline and the batches of another split."""
    name = next((name for name in ("val_dataloader", "test_dataloader") if cfg.get(name) is not None), None)
    if name is None:
        raise ValueError("the config has neither val_dataloader nor test_dataloader, whose pipeline is needed")
    plain = cfg[name].copy()
    pipeline = next(sources(plain.dataset)).dataset.pipeline
    datasets = [ConfigDict({**one.dataset, "pipeline": pipeline}) for one in sources(settings.dataset)]
    plain.dataset = datasets[0] if len(datasets) == 1 else ConfigDict(type="ConcatDataset", datasets=datasets)
    return plain


def _check_order(name: str, pipeline: Sequence[dict]) -> None:
    """Check that true boxes are in pixels of the original image, where the boxes of results are."""
    steps = [plain_name(step["type"]) for step in pipeline]
    after = steps[steps.index(_LOADS) + 1 :] if _LOADS in steps else []
    moving = [step for step in after if _MOVE_BOXES.search(step)]
    if moving:
        raise ValueError(
            f"the pipeline of {name} has {', '.join(moving)} after {_LOADS}. The true boxes are then not in pixels of "
            f"the original image, as predicted boxes are: write {_LOADS} just before PackDetInputs"
        )
