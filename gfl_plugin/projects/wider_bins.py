"""Which bins a widened head gets: they must contain the old ones, or its outputs could not stay the same."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..coders.integral_bbox_coder import DEFAULT_REG_MAX

Bins = tuple[float, ...]  # distances in strides, increasing
_ROUNDING = 4e-7  # relative; a bin computed as first + step * i in fp32 differs from its decimal number by less


def uniform_bins(reg_max: int, first: float = 0.0, step: float = 1.0) -> Bins:
    """The bins of ``IntegralBBoxCoder(reg_max, first, step)``.

    Args:
        reg_max: n, the index of the last bin.
        first: the first bin's distance in strides.
        step: spacing in strides.

    Returns:
        (n + 1,) distances in strides.

    Raises:
        ValueError: for fewer than two bins, or a step that is not > 0.
    """
    if reg_max < 1:
        raise ValueError(f"reg_max is {reg_max}; it must be a whole number >= 1 (the paper's is {DEFAULT_REG_MAX})")
    if not (step > 0 and math.isfinite(step) and math.isfinite(first)):
        raise ValueError(f"first is {first} and step is {step}; both must be finite, and the bins' spacing > 0")
    return tuple(first + step * index for index in range(reg_max + 1))


def spacing(bins: Bins) -> float | None:
    """The step of uniform bins.

    Args:
        bins: at least two, increasing.

    Returns:
        The step, or None if the bins are not uniform.
    """
    step = (bins[-1] - bins[0]) / (len(bins) - 1)
    rounding = _ROUNDING * max(map(abs, bins))
    same = all(abs(bin_ - (bins[0] + step * index)) <= rounding for index, bin_ in enumerate(bins))
    return shortest(step) if same else None


def requested_bins(
    old: Bins,
    reg_max: int | None = None,
    first: float | None = None,
    step: float | None = None,
    bins: Sequence[float] | None = None,
    add: Sequence[float] | None = None,
) -> Bins:
    """The bins that a user asks for: uniform ones, a list, or the old ones and more.

    Args:
        old: the checkpoint's bins.
        reg_max: index of the last new bin; the bins are uniform.
        first: the first new bin, in strides; the old one if not given.
        step: the new spacing, in strides; the old one if not given.
        bins: all new bins, in strides.
        add: bins to add to the old ones, in strides.

    Returns:
        The new bins. Those that are old ones up to rounding have the old values.

    Raises:
        ValueError: if not exactly one of ``reg_max``, ``bins`` and ``add`` is given, if the bins are not increasing,
            or if uniform bins take a step from old bins that are not uniform.
    """
    if [reg_max is None, bins is None, add is None].count(False) != 1:
        raise ValueError("give the new bins in one way: reg_max (with first and step if they change), bins, or add")
    if reg_max is None:
        if first is not None or step is not None:
            raise ValueError("first and step go with reg_max; leave them out")
        added = (
            () if add is None else tuple(old[index] for index in range(len(old)) if not _close(old[index], add, old))
        )
        new = tuple(map(float, bins)) if add is None else tuple(sorted([*added, *map(float, add)]))
        if len(new) < 2 or not all(low < high < math.inf for low, high in zip(new, new[1:])) or new[0] == -math.inf:
            raise ValueError(f"the new bins are {show(new)}; they must be at least two increasing, finite distances")
    else:
        step = spacing(old) if step is None else step
        if step is None:
            raise ValueError(
                f"the checkpoint's bins {show(old)} are not uniform; give bins to add (add), or all (bins)"
            )
        new = uniform_bins(reg_max, old[0] if first is None else first, step)
    return tuple(next(iter(_close(bin_, old, old)), bin_) for bin_ in new)


def _close(bin_: float, others: Sequence[float], old: Bins) -> list[float]:
    """Those of some bins that are this one up to rounding."""
    return [other for other in others if abs(other - bin_) <= _ROUNDING * max(map(abs, old))]


def kept_indices(old: Bins, new: Bins) -> tuple[int, ...]:
    """Where the old bins are among the new ones.

    Args:
        old: the checkpoint's bins.
        new: the bins of the widened head.

    Returns:
        The index in ``new`` of each old bin.

    Raises:
        ValueError: if an old bin is missing, or nothing is new; the message says what to write instead.
    """
    indices = []
    for bin_ in old:
        nearest = min(range(len(new)), key=lambda index: abs(new[index] - bin_))
        if not _close(bin_, new[nearest : nearest + 1], old):
            raise ValueError(
                f"the checkpoint's bin {bin_:g} is not among the new bins {show(new)}. The outputs stay the same only "
                f"if all its {len(old)} bins {show(old)} are kept: {_advice(old, new)}"
            )
        indices.append(nearest)
    if len(new) == len(old):
        raise ValueError(f"the checkpoint has the bins {show(old)} already; {_advice(old, new)}")
    return tuple(indices)


def nearest_indices(old: Bins, new: Bins) -> tuple[int, ...]:
    """The old bin nearest to each new one, the lower of two at equal distance.

    Args:
        old: the checkpoint's bins.
        new: the bins of the widened head.

    Returns:
        An index in ``old`` for each new bin.
    """
    return tuple(min(range(len(old)), key=lambda index: abs(old[index] - bin_)) for bin_ in new)


def show(bins: Bins) -> str:
    """Format bins for a message.

    Args:
        bins: distances in strides.

    Returns:
        ``(0, 1, ..., 16)`` for many uniform ones, else all of them.
    """
    texts = [f"{bin_:g}" for bin_ in bins]
    if len(bins) > 4 and spacing(bins) is not None:
        texts = [*texts[:2], "...", texts[-1]]
    return f"({', '.join(texts)})"


def shortest(number: float) -> float:
    """The number with the fewest digits among those that cannot be told apart in fp32.

    Args:
        number: as computed in fp32.

    Returns:
        The number as a person would have written it.
    """
    for digits in range(1, 17):
        short = float(f"{number:.{digits}g}")
        if abs(short - number) <= _ROUNDING * abs(number):
            return short
    return number


def _advice(old: Bins, new: Bins) -> str:
    """Which uniform bins contain the old ones and are nearest to those that were asked for."""
    step = spacing(old)
    if step is None:
        return "name those to add (add)"
    asked = spacing(new) or step
    parts = max(1, math.ceil(step / asked - _ROUNDING))  # new steps per old step
    fine = step / parts
    before = max(0, math.ceil((old[0] - new[0]) / fine - _ROUNDING))
    after = max(0, math.ceil((new[-1] - old[-1]) / fine - _ROUNDING))
    if not (before or after or parts > 1):
        after = 1
    reg_max = before + parts * (len(old) - 1) + after
    first = old[0] - before * fine
    words = [f"reg_max={reg_max}"]
    words += [f"first={first:g}"] if before else []
    words += [f"step={fine:g}"] if parts > 1 else []
    least = "" if before or parts > 1 else " or more"
    return f"for example {', '.join(words)}{least}"
