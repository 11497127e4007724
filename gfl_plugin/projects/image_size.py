"""The largest side that images have after the pipelines of a config."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from mmengine.config import Config

from .dense_head import class_name

Side = float | None  # pixels; None if it depends on the image files

_LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")


def largest_image_side(cfg: Config) -> int | None:
    """Find the largest side that an image can have in training or test.

    Transforms of MMDetection and mmcv that resize, crop or combine images are followed; all others are taken to keep
    the size of the image. Padding does not count, because there are no objects in it.

    Args:
        cfg: of a detector and its data.

    Returns:
        Pixels, rounded up; None if no pipeline sets the size.
    """
    datasets = [cfg[loader].dataset for loader in _LOADERS if cfg.get(loader) and cfg[loader].get("dataset")]
    sides = [_dataset_side(dataset) for dataset in datasets]
    preprocessor = cfg.model.get("data_preprocessor") or cfg.get("data_preprocessor") or {}
    sides.append(_after(preprocessor.get("batch_augments") or (), None))
    known = _largest(sides)
    return None if known is None else math.ceil(known)


def _dataset_side(dataset: Mapping) -> Side:
    """Of a dataset, or of the datasets inside a wrapper, whose own pipeline follows theirs."""
    inner = dataset.get("datasets") or ([dataset["dataset"]] if "dataset" in dataset else [])
    return _after(dataset.get("pipeline") or (), _largest(map(_dataset_side, inner)))


def _after(steps: Iterable[Mapping], side: Side) -> Side:
    """The side after some transforms."""
    for step in steps:
        rule = _RULES.get(class_name(step["type"]))
        side = side if rule is None else rule(step, side)
    return side


def _largest(sides: Iterable[Side]) -> Side:
    return max((side for side in sides if side is not None), default=None)


# ---------------------------------------------------------------------------------------------------
# Transforms: settings and the side before -> the side after
# ---------------------------------------------------------------------------------------------------


def _resized(step: Mapping, side: Side) -> Side:
    """To ``scale``, in which the image is fitted; or by a factor."""
    if step.get("scale") is not None:
        return _edge(step["scale"])
    factor = step.get("scale_factor")
    return None if side is None or factor is None else side * _edge(factor)


def _randomly_resized(step: Mapping, side: Side) -> Side:
    """To a random multiple of ``scale``, or between two scales."""
    scale = _edge(step["scale"])
    ratios = step.get("ratio_range")
    return scale if scale is None or ratios is None else scale * max(ratios)


def _resized_to_a_choice(step: Mapping, side: Side) -> Side:
    return _largest(map(_edge, step["scales"])) if "scales" in step else side


def _resized_by_the_shortest_edge(step: Mapping, side: Side) -> Side:
    return step.get("max_size")


def _resized_to_a_shape(step: Mapping, side: Side) -> Side:
    return _edge((step["width"], step["height"]))


def _cropped(step: Mapping, side: Side) -> Side:
    """At most to ``crop_size``; a relative size is at most 1."""
    size = step.get("crop_size")
    if size is None or str(step.get("crop_type", "absolute")).startswith("relative"):
        return side
    ratio = max(step.get("ratios", (0.9, 1.0, 1.1))) if class_name(step["type"]) == "RandomCenterCropPad" else 1
    return min(_edge(size) * ratio, math.inf if side is None else side)


def _mosaic(step: Mapping, side: Side) -> Side:
    """Two images in each direction."""
    return 2 * _edge(step.get("img_scale", (640, 640)))


def _affine(step: Mapping, side: Side) -> Side:
    """The image gets ``border`` on both sides; a negative one makes it smaller."""
    return None if side is None else side + 2 * max(step.get("border", (0, 0)))


def _one_of(step: Mapping, side: Side) -> Side:
    """One of several pipelines; one of them may be a single transform."""
    return _largest(_after([one] if isinstance(one, Mapping) else one, side) for one in step["transforms"])


def _random_batch_size(step: Mapping, side: Side) -> Side:
    return max(step["random_size_range"])


def _edge(size: object) -> Side:
    """The largest of a number or of nested sequences of numbers; None if it is infinite."""
    if isinstance(size, Sequence):
        return _largest(map(_edge, size))
    return float(size) if math.isfinite(size) else None


_RULES: dict[str, Callable[[Mapping, Side], Side]] = {
    "Resize": _resized,
    "FixScaleResize": _resized,
    "BatchResize": _resized,
    "RandomResize": _randomly_resized,
    "RandomChoiceResize": _resized_to_a_choice,
    "ResizeShortestEdge": _resized_by_the_shortest_edge,
    "FixShapeResize": _resized_to_a_shape,
    "RandomCrop": _cropped,
    "CenterCrop": _cropped,
    "RandomCenterCropPad": _cropped,
    "Mosaic": _mosaic,
    "CachedMosaic": _mosaic,
    "RandomAffine": _affine,
    "RandomChoice": _one_of,
    "BatchSyncRandomResize": _random_batch_size,
}
