"""Finds for each class of a network the class of the labels that it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .labelled_sets import LabelledImages

_SHOWN = 5  # names in a sentence


@dataclass(frozen=True)
class MatchedClasses:
    """The classes of a network among those of labels."""

    labels: np.ndarray  # (C,) int64: label of the data for each class of the network
    note: str  # a sentence for people where it is a guess; "" where the names say it


def match_classes(count: int, names: Sequence[str] | None, images: LabelledImages) -> MatchedClasses:
    """Match classes by their names, or else by their order.

    Args:
        count: number of classes of the network.
        names: of its classes; None if they are not known.
        images: the labelled images.

    Returns:
        The classes.

    Raises:
        ValueError: if the numbers of classes differ.
    """
    own = list(images.classes)
    if count != len(own):
        raise ValueError(
            f"the network has {count} class{'es' if count > 1 else ''}{_listed(names)}, {images.name} has "
            f"{len(own)}{_listed(own)}.{_other_bins(count, len(own))}"
        )
    if names is not None:
        places = {_plain(name): label for label, name in enumerate(own)}
        if len(places) == len(own) and {_plain(name) for name in names} == places.keys():
            return MatchedClasses(np.array([places[_plain(name)] for name in names], np.int64), "")
    labels = np.array(images.order, np.int64)
    if count == 1:
        return MatchedClasses(labels, "")
    pairs = ", ".join(
        f"{number if names is None else names[number]} = {own[label]}" for number, label in enumerate(labels[:_SHOWN])
    )
    why = "has no names of classes" if names is None else "has other names of classes"
    return MatchedClasses(
        labels, f"The network {why}; classes are matched in their order: {pairs}{', ...' if count > _SHOWN else ''}."
    )


def _plain(name: str) -> str:
    """A name without differences that do not matter: "Traffic_light" and "traffic light" are the same class."""
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def _listed(names: Sequence[str] | None) -> str:
    if not names:
        return ""
    return f" ({', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''})"


def _other_bins(count: int, wanted: int) -> str:
    """A hint that a wrong number of bins also changes the number of classes."""
    if (count - wanted) % 4:
        return ""
    more = (count - wanted) // 4
    return (
        f" If it was trained for the classes of the labels, its sides have {abs(more)} "
        f"{'more' if more > 0 else 'fewer'} bin{'s' if abs(more) > 1 else ''} than the layout says: write "
        f'"classes": {wanted} into the layout'
    )
