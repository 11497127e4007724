"""Mistakes in labelled sets that would stop a training or make its results meaningless, found before it starts."""

from __future__ import annotations

import filecmp
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import combinations

from .labelled_set import LabelledSet
from .left_out import examples


def check_sets(sets: Sequence[LabelledSet]) -> tuple[str, ...]:
    """Check the sets of a project.

    Args:
        sets: "train", "val" and possibly "test".

    Returns:
        Notes about what is unusual but possible.

    Raises:
        ValueError: if images are missing or in two splits, or if a split has no objects; the message is one line.
    """
    for one in sets:
        _check_files(one)
    for first, second in combinations(sets, 2):
        _check_overlap(first, second)
    for one in sets:
        if one.split != "test" and not one.annotations:
            what = "train on" if one.split == "train" else "validate on"
            raise ValueError(f"no objects to {what}: none of the {len(one.images)} images of {one.split} has one")
    train, val = (next(one for one in sets if one.split == split) for split in ("train", "val"))
    return (*_class_notes(train, val), *_empty_notes(train))


def objects_per_class(found: LabelledSet) -> dict[str, int]:
    """Count the objects of each class.

    Args:
        found: a set.

    Returns:
        Number of objects by class, in the order of the labels.
    """
    counts = Counter(one["category_id"] for one in found.annotations)
    return {one["name"]: counts[one["id"]] for one in found.categories}


def _check_files(found: LabelledSet) -> None:
    missing = [found.path(one) for one in found.images if not found.path(one).is_file()]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(found.images)} annotated images of {found.split} do not exist: {examples(missing)}"
        )


def _check_overlap(first: LabelledSet, second: LabelledSet) -> None:
    """The same image in two splits; other images may have the same name in another folder."""
    of_name = defaultdict(list)
    for one in first.images:
        path = first.path(one)
        of_name[path.name].append(path)
    shared = [
        path
        for path in map(second.path, second.images)
        if any(path == other or filecmp.cmp(path, other, shallow=False) for other in of_name.get(path.name, ()))
    ]
    if shared:
        raise ValueError(
            f"{len(shared)} images are in both {first.split} and {second.split}: "
            f"{examples([path.name for path in shared])}; results on them say nothing about new images"
        )


def _class_notes(train: LabelledSet, val: LabelledSet) -> list[str]:
    counts, held_out = objects_per_class(train), objects_per_class(val)
    notes = []
    if len(counts) == 1:
        (name,) = counts
        notes.append(
            f"there is one class, {name}: the model only separates it from the background, and classes must be "
            f'("{name}",), with the comma'
        )
    if unused := [name for name, count in counts.items() if not count]:
        notes.append(f"{len(unused)} of {len(counts)} classes have no object in train: {examples(unused)}")
    if only := [name for name, count in held_out.items() if count and not counts[name]]:
        notes.append(f"classes with objects in val but not in train, which cannot be learned: {examples(only)}")
    spellings = defaultdict(list)
    for name in counts:
        spellings["".join(name.lower().split())].append(name)
    notes += [f"classes that differ only in spelling: {', '.join(one)}" for one in spellings.values() if len(one) > 1]
    return notes


def _empty_notes(train: LabelledSet) -> list[str]:
    empty = len(train.images) - len({one["image_id"] for one in train.annotations})
    return (
        [f"{empty} of {len(train.images)} images of train have no objects; they are used as background"]
        if empty
        else []
    )
