"""The datasets inside the wrappers of a config."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mmengine.config import ConfigDict


@dataclass(frozen=True)
class Source:
    """A dataset that reads annotations, as written in a config."""

    dataset: ConfigDict  # without wrappers
    mixer: ConfigDict | None = None  # wrapper with a pipeline of its own, such as YOLOX's MultiImageMixDataset


def sources(dataset: ConfigDict, mixer: ConfigDict | None = None) -> Iterator[Source]:
    """Iterate over the datasets inside wrappers (repeated, concatenated, balanced, mixed).

    Args:
        dataset: config of a dataset or a wrapper.
        mixer: the innermost wrapper around it that has a pipeline.

    Yields:
        The datasets that read annotations.
    """
    inner = dataset.get("datasets") or ([dataset.dataset] if "dataset" in dataset else None)
    if inner is None:
        yield Source(dataset, mixer)
        return
    for one in inner:
        yield from sources(one, dataset if "pipeline" in dataset else mixer)


def plain_name(kind: object) -> str:
    """Remove the scope from the name of a type.

    Args:
        kind: a class, as in new-style configs, or its name.

    Returns:
        The name.
    """
    return getattr(kind, "__name__", str(kind)).split(".")[-1]
