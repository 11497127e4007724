"""Batches of a data loader as plain tensors and numbers, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import BaseBoxes, get_box_tensor
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor

_INSTANCES = ("gt_instances", "ignored_instances")


def plain_batch(batch: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a batch of a data loader to tensors and plain values: images, boxes, labels, image metas.

    Args:
        batch: ``inputs`` and ``data_samples``, each a list with an entry per image, or, for MMDetection's
            MultiBranchDataPreprocessor, a dict of such lists with the branch as key. In the lists of branches, None
            marks an image of another branch. ``data_samples`` may be None.

    Returns:
        A dict with the same two keys, for :func:`batch_of`.

    Raises:
        ValueError: if the batch has another form.
    """
    if not isinstance(batch, Mapping) or "inputs" not in batch:
        got = f"a dict of {list(batch)}" if isinstance(batch, Mapping) else f"a {type(batch).__name__}"
        raise ValueError(f"the batch is {got}; it must be a dict of inputs and data_samples")
    samples = batch.get("data_samples")
    return {
        "inputs": _per_branch(batch["inputs"], _plain_image, "inputs"),
        "data_samples": None if samples is None else _per_branch(samples, _plain_sample, "data_samples"),
    }


def batch_of(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the result of :func:`plain_batch` back.

    Args:
        plain: from :func:`plain_batch`.

    Returns:
        The batch as a data loader returns it.
    """
    samples = plain["data_samples"]
    return {
        "inputs": _per_branch(plain["inputs"], Tensor.clone, "inputs"),
        "data_samples": None if samples is None else _per_branch(samples, _sample_of, "data_samples"),
    }


def _per_branch(entries: Any, convert: Callable[[Any], Any], where: str) -> Any:
    """Convert every entry of a list, or of each branch's list.

    Args:
        entries: a list, a tensor whose rows are the entries, or a dict of these; entries that are None stay None.
        convert: converts one entry.
        where: the key in the batch, for error messages.

    Returns:
        The converted list, or a dict of lists.

    Raises:
        ValueError: if ``entries`` is anything else.
    """
    if isinstance(entries, Mapping):
        return {str(name): _per_branch(branch, convert, f"{where}.{name}") for name, branch in entries.items()}
    if not isinstance(entries, (list, tuple, Tensor)):
        raise ValueError(f"{where} of the batch is a {type(entries).__name__}; it must be a list, or a dict of lists")
    return [None if entry is None else convert(entry) for entry in entries]


def _plain_image(image: Any) -> Tensor:
    if not isinstance(image, Tensor):
        raise ValueError(f"inputs of the batch hold a {type(image).__name__}; they must hold tensors")
    return image.detach().cpu().clone()


def _plain_sample(sample: Any) -> dict[str, Any]:
    if not isinstance(sample, BaseDataElement):
        raise ValueError(f"data_samples of the batch hold a {type(sample).__name__}; they must hold DetDataSample")
    plain = {"metainfo": _plain(sample.metainfo)}
    for name in _INSTANCES:
        if name in sample:
            items = getattr(sample, name).items()
            plain[name] = {key: _tensor(value) for key, value in items if isinstance(value, (Tensor, BaseBoxes))}
    return plain


def _sample_of(plain: Mapping[str, Any]) -> DetDataSample:
    sample = DetDataSample(metainfo=plain["metainfo"])
    for name in _INSTANCES:
        if name in plain:
            setattr(sample, name, InstanceData(**plain[name]))
    return sample


def _tensor(value: Tensor | BaseBoxes) -> Tensor:
    return (get_box_tensor(value) if isinstance(value, BaseBoxes) else value).detach().cpu().clone()


def _plain(value: Any) -> Any:
    """Keep numbers, strings, and lists and dicts of them; other values become None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(item) for item in value)
    if isinstance(value, np.ndarray):
        return np.array(value) if value.dtype.kind in "biuf" else _plain(value.tolist())
    if isinstance(value, np.generic):
        return value.item()
    return value if isinstance(value, (str, int, float, bool, type(None), Tensor)) else None
