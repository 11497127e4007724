"""The classes of labelled data, which must be those that a detector was trained for."""

from __future__ import annotations

from torch import nn
from torch.utils.data import Dataset


def class_names(model: nn.Module, dataset: Dataset, count: int) -> tuple[str, ...]:
    """The classes of the data, after a check that they are those of the head and of the checkpoint.

    Args:
        model: with ``dataset_meta``, as MMDetection's ``init_detector`` gives it.
        dataset: the labelled data.
        count: number of classes of the head.

    Returns:
        The names.

    Raises:
        ValueError: if they differ.
    """
    classes = tuple(dataset.metainfo.get("classes", ()))
    trained = tuple(model.dataset_meta.get("classes", ()))
    if len(classes) != count or (len(trained) == count and trained != classes):
        raise ValueError(
            f"the data have the classes {', '.join(classes)}; the checkpoint was trained with {', '.join(trained)}, "
            f"and the head has num_classes={count}. Use the config with which the checkpoint was trained"
        )
    return classes
