"""Finds out whether the numbers of a network are logits or probabilities, from those of one image."""

from __future__ import annotations

import numpy as np

from .layout import LOGITS, PROBABILITIES
from .settings import Settings

_KEYS = {"scores": "scores_are", "sides": "sides_are"}
_ROUNDING = 1e-3  # of probabilities, also in half precision


def activation(settings: Settings, what: str, values: np.ndarray) -> tuple[str, str]:
    """What the numbers are.

    Args:
        settings: the layout's keys; what a person has written there must be true.
        what: "scores" or "sides".
        values: (A, C) scores or (A, 4, n+1) bins of an image.

    Returns:
        LOGITS or PROBABILITIES, and a sentence for people if this is not what a shipped layout says; else "".

    Raises:
        ValueError: if the layout says that they are probabilities, and they cannot be.
    """
    key = _KEYS[what]
    said, own = settings.values.get(key), key in settings.own
    possible = _are_probabilities(values, what)
    low, high = (float(one) for one in (values.min(), values.max()))
    if said is None:
        return (PROBABILITIES if possible else LOGITS), ""
    found = f"he {what} of the file lie between {low:.3g} and {high:.3g}"
    if said == PROBABILITIES and not possible:
        if own:
            reason = found if what == "scores" else f"{found}, and those of a side do not add up to 1"
            raise ValueError(f'"{key}" of {settings.name} is "{said}", but t{reason}: write "{LOGITS}"')
        return LOGITS, f"T{found}: they are taken as {LOGITS}."
    # Logits of a network that has learned anything do not all lie between 0 and 1.
    if said == LOGITS and possible and not own and low < high:
        return PROBABILITIES, f"T{found}: they are taken as {PROBABILITIES}."
    return said, ""


def _are_probabilities(values: np.ndarray, what: str) -> bool:
    in_range = values.min() >= -_ROUNDING and values.max() <= 1 + _ROUNDING
    if what == "scores":
        return bool(in_range)
    return bool(in_range and np.abs(values.sum(axis=-1) - 1).max() <= _ROUNDING * values.shape[-1])
