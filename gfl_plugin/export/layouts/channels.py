"""Finds out which channels of the outputs are class scores and which are bins of the sides."""

from __future__ import annotations

from dataclasses import dataclass

from .arrangement import Arrangement, Placed
from .layout import Part
from .settings import SIDES_FIRST, Settings


@dataclass(frozen=True)
class Channels:
    """Where scores and sides are, per level or for all levels."""

    scores: tuple[Part, ...]
    sides: tuple[Part, ...]
    classes: int  # C
    bins: int  # n+1


def assigned_channels(settings: Settings, arrangement: Arrangement) -> Channels:
    """Divide the channels among scores and sides.

    Args:
        settings: the layout's keys.
        arrangement: of the outputs.

    Returns:
        The channels.

    Raises:
        ValueError: if the numbers of channels do not fit; the message names what was found.
    """
    first = arrangement.outputs[0]
    for level in arrangement.outputs:
        if [one.channels for one in level] != [one.channels for one in first]:
            raise ValueError(
                "the levels have different numbers of channels: "
                + "; ".join(f"{one.name} has {one.channels}" for level in arrangement.outputs for one in level)
            )
    counts = tuple(one.channels for one in first)
    classes, bins, swapped = _joined(settings, counts[0]) if len(first) == 1 else _separate(settings, first)
    if len(first) == 1:
        start = {"scores": 4 * bins if swapped else 0, "sides": 0 if swapped else classes}
        rows = [(level[0], level[0]) for level in arrangement.outputs]
    else:
        start = {"scores": 0, "sides": 0}
        rows = [level[::-1] if swapped else level for level in arrangement.outputs]
    return Channels(
        scores=tuple(Part(one.name, one.axis, start["scores"], classes) for one, _ in rows),
        sides=tuple(Part(other.name, other.axis, start["sides"], 4 * bins) for _, other in rows),
        classes=classes,
        bins=bins,
    )


def _wanted(settings: Settings) -> tuple[int | None, int | None]:
    """Number of classes and bins that the layout says; None where it does not."""
    classes, bins = settings.values.get("classes"), settings.values.get("bins")
    return (len(classes) if isinstance(classes, list) else classes), (len(bins) if isinstance(bins, list) else bins)


def _joined(settings: Settings, count: int) -> tuple[int, int, bool]:
    """Classes, bins, and whether the sides come first, of outputs that hold both."""
    swapped = settings.values.get("order") == SIDES_FIRST
    classes, bins = _wanted(settings)
    if classes is not None and (bins is None or "bins" not in settings.own):
        rest = count - classes
        if rest < 8 or rest % 4:
            raise ValueError(
                f"{count} channels without {classes} class{'es' if classes > 1 else ''} are {rest}, which is not 4 "
                f"times a number of bins of at least 2{_decoded(rest)}"
            )
        return classes, rest // 4, swapped
    if bins is None:
        raise ValueError(f'{count} channels are scores and sides: write "classes" or "bins" into {settings.name}')
    if count - 4 * bins < 1 or classes not in (None, count - 4 * bins):
        wanted = "at least 1 class" if classes is None else f"{classes} class{'es' if classes > 1 else ''}"
        raise ValueError(f"{count} channels are not 4 * {bins} bins and {wanted}{_decoded(count - (classes or count))}")
    return count - 4 * bins, bins, swapped


def _separate(settings: Settings, level: tuple[Placed, ...]) -> tuple[int, int, bool]:
    """Classes, bins, and whether the output of the sides comes first, of two outputs per level."""
    classes, bins = _wanted(settings)
    named = "scores" in settings.values  # the outputs are then in the order scores, sides
    orders = (False,) if named else (True, False) if settings.values.get("order") == SIDES_FIRST else (False, True)
    for wanted in (bins, None if "bins" not in settings.own else bins):
        for swapped in orders:
            scores, sides = (one.channels for one in (level[::-1] if swapped else level))
            if sides % 4 == 0 and sides >= 8 and classes in (None, scores) and wanted in (None, sides // 4):
                return scores, sides // 4, swapped
    found = ", ".join(f"{one.name} has {one.channels} channels" for one in level)
    wanted = [f"{classes} classes"] * (classes is not None) + [f"{bins} bins"] * (bins is not None)
    raise ValueError(
        f"{found}; none of them {'is' if not named else 'has'} 4 times a number of bins of at least 2 beside scores"
        f"{' for ' + ' and '.join(wanted) if wanted else ''}{_decoded(min(one.channels for one in level))}"
    )


def _decoded(rest: int) -> str:
    return (
        ". Four channels are decoded boxes, which have no distribution: export the network without decoding"
        if rest == 4
        else ""
    )
