"""Makes the missing splits of labelled images."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from .labelled_set import LabelledSet
from .left_out import left_out

VAL_SHARE = 0.2  # of the images without a split
_LEAST = 2  # images: one to train on and one to validate


def split_images(sets: Sequence[LabelledSet], seed: int) -> tuple[list[LabelledSet], tuple[str, ...]]:
    """Make a training and a validation split where the data has none.

    Args:
        sets: of the data; "" is the split of images that belong to none.
        seed: of the random choice; the same seed chooses the same images.

    Returns:
        The sets, "train" and "val" among them, and notes about what was done.

    Raises:
        ValueError: if there are no images to train on, or too few for a validation split.
    """
    by_split = {one.split: one for one in sets if one.images}
    empty = [one.split for one in sets if not one.images]
    notes: tuple[str, ...] = ()
    if "test" in by_split and not by_split["test"].annotations:
        unlabelled = by_split.pop("test")
        notes = left_out("images of test, which has no objects", [one["file_name"] for one in unlabelled.images])
    if "" in by_split and len(by_split) > 1:
        alone = by_split.pop("")
        notes += left_out("images outside the splits", [one["file_name"] for one in alone.images])
    source = by_split.pop("train", None) or by_split.pop("", None)
    if source is None:
        raise ValueError(f"no training images; found images of {', '.join(by_split) or 'no split'}")
    if "val" in empty:
        raise ValueError("no validation images: the validation split is empty")
    if "val" in by_split:
        return [replace(source, split="train"), *(by_split[one] for one in ("val", "test") if one in by_split)], notes
    train, val = _random_split(source, seed)
    notes += (
        f"no validation split: {len(val.images)} of {len(source.images)} images were chosen at random with seed {seed}",
    )
    return [train, val, *by_split.values()], notes


def _random_split(source: LabelledSet, seed: int) -> tuple[LabelledSet, LabelledSet]:
    count = len(source.images)
    if count < _LEAST:
        raise ValueError(f"no validation images: {count} image is too few to split; at least {_LEAST} are needed")
    ids = [one["id"] for one in sorted(source.images, key=lambda one: one["file_name"])]
    random.Random(seed).shuffle(ids)
    held_out = max(1, round(VAL_SHARE * count))
    return source.subset("train", ids[held_out:]), source.subset("val", ids[:held_out])
