r"""Bins of a side's distribution, in strides: given one by one, or by the name of a spacing.

With n + 1 bins :math:`y_0 < y_1 < \dots < y_n` (n is ``reg_max``):

- uniform: :math:`y_i = y_0 + i\,(y_n - y_0)/n` (Li et al., arXiv 2006.04388, Section 3);
- geometric: :math:`y_i = f\,(1 + q + \dots + q^{i-1})`, with the first step f and the factor :math:`q \ge 1` for which
  :math:`y_n` is the given last bin;
- D-FINE's (Peng et al., arXiv 2410.13842, Section 4.1): with :math:`a = up \cdot reg\_scale` and
  :math:`s = (a + 1)^{2/(n - 2)}`, the bins :math:`0, \pm(s^i - 1)` for :math:`i = 1, \dots, n/2 - 1`, and
  :math:`\pm 2a`. They are dense around 0 and start below it.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Real

import torch

_SAME = 1e-9  # relative difference of two numbers that are equal up to rounding


def uniform_bins(n: int, last: float, first: float = 0.0) -> tuple[float, ...]:
    """Bins with equal steps.

    Args:
        n: index of the last bin, >= 1.
        last: the last bin, > first.
        first: the first bin.

    Returns:
        n + 1 increasing numbers.

    Raises:
        ValueError: for a last bin that is not above the first.
    """
    if not last > first:
        raise ValueError(f"the last bin is {last:g} and the first {first:g}; the last must be larger")
    return tuple(first + (last - first) * i / n for i in range(n + 1))


def geometric_bins(n: int, last: float, first_step: float = 1.0) -> tuple[float, ...]:
    """Bins from 0, whose steps grow by a constant factor: fine for small distances, with a wide range.

    Args:
        n: index of the last bin, >= 1.
        last: the last bin, >= n·first_step.
        first_step: the second bin, > 0.

    Returns:
        n + 1 increasing numbers.

    Raises:
        ValueError: for a first step <= 0, or a last bin that steps growing from the first do not have.
    """
    if not first_step > 0:
        raise ValueError(f"first_step is {first_step:g}; it must be > 0")
    if last < n * first_step * (1 - _SAME):
        raise ValueError(
            f"last is {last:g}, less than {n} steps of first_step={first_step:g}, so that the steps would shrink; "
            f"write last >= {n * first_step:g} or first_step <= {last / n:g}"
        )
    if n == 1 and last > first_step * (1 + _SAME):
        raise ValueError(f"with reg_max=1 there is one step, first_step={first_step:g}, so last={last:g} is not a bin")
    factor = _factor(n, last / first_step)
    steps = [first_step * factor**i for i in range(n)]
    return (*(math.fsum(steps[:i]) for i in range(n)), float(last))


def _factor(n: int, total: float) -> float:
    """q >= 1 with 1 + q + ... + q^(n-1) = total, found by bisection."""
    low, high = 1.0, max(1.0, total) ** (1 / max(n - 1, 1))  # the last term alone reaches the total
    for _ in range(64):  # each halves the interval, so that fp64 is exhausted
        middle = (low + high) / 2
        if math.fsum(middle**i for i in range(n)) < total:
            low = middle
        else:
            high = middle
    return low


def d_fine_bins(n: int, up: float = 0.5, reg_scale: float = 4.0) -> tuple[float, ...]:
    """D-FINE's weighting function W(n), symmetric around 0.

    Args:
        n: index of the last bin, even, >= 4.
        up: see the module.
        reg_scale: see the module.

    Returns:
        n + 1 increasing numbers, the first of them negative.

    Raises:
        ValueError: for an n that is odd or less than 4, or ``up`` or ``reg_scale`` <= 0.
    """
    if n < 4 or n % 2:
        raise ValueError(f"reg_max is {n}; D-FINE's spacing needs an even number >= 4 (D-FINE's is 32)")
    if not (up > 0 and reg_scale > 0):
        raise ValueError(f"up is {up:g} and reg_scale {reg_scale:g}; both must be > 0 (D-FINE's are 0.5 and 4)")
    bound = up * reg_scale
    base = (bound + 1) ** (2 / (n - 2))
    positive = [*(base**i - 1 for i in range(1, n // 2)), 2 * bound]
    return (*(-value for value in reversed(positive)), 0.0, *positive)


SPACINGS: dict[str, Callable[..., tuple[float, ...]]] = {
    "uniform": uniform_bins,
    "geometric": geometric_bins,
    "d_fine": d_fine_bins,
}


def spaced_bins(n: int, settings: Mapping) -> tuple[float, ...]:
    """Bins of a named spacing.

    Args:
        n: index of the last bin, >= 1.
        settings: ``spacing``, a key of ``SPACINGS``, and the arguments of its function.

    Returns:
        n + 1 increasing numbers.

    Raises:
        ValueError: for an unknown spacing, unknown or missing arguments, or values outside their range.
    """
    arguments = {key: value for key, value in settings.items() if key != "_delete_"}  # MMEngine may leave that key
    name = arguments.pop("spacing", None)
    if name not in SPACINGS:
        raise ValueError(f"bins has spacing={name!r}; write one of {', '.join(map(repr, SPACINGS))}, or list the bins")
    parameters = list(inspect.signature(SPACINGS[name]).parameters.values())[1:]
    known = [parameter.name for parameter in parameters]
    unknown = sorted(set(map(str, arguments)) - set(known))
    if unknown:
        raise ValueError(
            f"bins has {', '.join(unknown)}, which the spacing {name!r} does not take; it takes {', '.join(known)}. "
            "If a base config has set it, write bins=dict(_delete_=True, ...)"
        )
    missing = [p.name for p in parameters if p.default is p.empty and p.name not in arguments]
    if missing:
        raise ValueError(f"bins with spacing={name!r} needs {', '.join(missing)}: dict(spacing={name!r}, last=16)")
    for key, value in arguments.items():
        if not _is_finite(value):
            raise ValueError(f"bins has {key}={value!r}; it must be a finite number")
    try:
        return SPACINGS[name](n, **arguments)
    except ValueError as error:
        raise ValueError(f"bins with spacing={name!r} and reg_max={n}: {error}") from None


def listed_bins(values: Sequence[float]) -> tuple[float, ...]:
    """Bins given one by one.

    Args:
        values: at least two increasing finite numbers.

    Returns:
        The numbers.

    Raises:
        ValueError: for other values; the message names the first wrong one.
    """
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise ValueError(
            f"bins is {values!r}; it must be a list of increasing numbers, or a spacing such as "
            "dict(spacing='geometric', last=64, first_step=1)"
        )
    if len(values) < 2:
        raise ValueError(f"bins has {len(values)} number{'' if len(values) == 1 else 's'}; it must have at least 2")
    for i, value in enumerate(values):
        if not _is_finite(value):
            raise ValueError(f"bins[{i}] is {value!r}; each bin must be a finite number")
    return tuple(float(value) for value in values)


def check_increasing(values: Sequence[float]) -> None:
    """Check that bins increase, also as fp32 numbers.

    Args:
        values: the bins.

    Raises:
        ValueError: if they do not.
    """
    steps = torch.tensor(values, dtype=torch.float32).diff()
    wrong = (~(steps > 0)).nonzero()
    if len(wrong):
        i = int(wrong[0])
        raise ValueError(
            f"bins must increase, but bins[{i}] is {values[i]:g} and bins[{i + 1}] is {values[i + 1]:g}"
            + ("" if values[i + 1] <= values[i] else "; single precision does not distinguish them")
        )


def _is_finite(value: object) -> bool:
    """Whether a value is a number that fp32 holds."""
    finite = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    return finite and abs(value) <= torch.finfo(torch.float32).max
