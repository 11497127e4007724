r"""Quantiles of split conformal prediction, with the correction for a finite number of samples.

A score s says how far the truth is from the prediction. With :math:`s \le q` as the margin, the truth of a new sample
is covered with a probability of at least the level, if the new sample is exchangeable with the calibration samples:

- **per match** (Vovk et al. 2005; Lei et al., arXiv 1604.04173): q is the :math:`\lceil (n+1)\,\text{level} \rceil`-th
  smallest of n scores. It is exact for exchangeable matches; matches of one image are not independent of each other.
- **per image** (Lee, Barber and Willett, arXiv 2306.06342, hierarchical conformal prediction): q is the level quantile
  of :math:`\sum_k \sum_i \frac{1}{(K+1) N_k} \delta_{s_{ki}} + \frac{1}{K+1} \delta_\infty` over K images with
  :math:`N_k` matches each. It is exact for exchangeable images and a match that is drawn at random from a new image,
  whatever the dependence of matches within an image.
"""

from __future__ import annotations

import math
import warnings

import numpy as np

from ...runtime.install_advice import module_or_advice

PER_IMAGE, PER_MATCH = PER = ("image", "match")
_ROUNDING = 1e-9  # of a level; without it, 0.9 of 10 samples would be rounded up to all of them


def needed_samples(level: float) -> int:
    """The number of images (or matches) without which no finite margin has a level.

    Args:
        level: in (0, 1).

    Returns:
        The least n with n / (n + 1) >= level.
    """
    return math.ceil(level / (1 - level) - _ROUNDING)


def conformal_quantile(scores: np.ndarray, image: np.ndarray, level: float, per: str) -> float:
    """The margin, in units of the scores, that covers a new sample with the probability ``level``.

    Args:
        scores: (N,) of the matches, >= 0.
        image: (N,) index of the image of each match.
        level: in (0, 1).
        per: PER_IMAGE or PER_MATCH, see the module.

    Returns:
        One of the scores.

    Raises:
        ValueError: if there are fewer images (or matches) than the level needs.
        MissingPackageError: per match, if crepes is not installed.
    """
    count = len(np.unique(image)) if per == PER_IMAGE else len(scores)
    if count < needed_samples(level):
        samples = "images with matches" if per == PER_IMAGE else "matches"
        highest = math.floor(1000 * count / (count + 1)) / 1000
        raise ValueError(
            f"a level of {level:g} needs at least {needed_samples(level)} {samples}, but there are {count}; use more "
            f"labelled images, or a level of at most {highest:g}"
        )
    return _per_image(scores, image, level) if per == PER_IMAGE else _per_match(scores, level)


def _per_match(scores: np.ndarray, level: float) -> float:
    with warnings.catch_warnings():  # importing crepes changes the filters of the whole process
        crepes = module_or_advice("crepes", "calibrate")
    regressor = crepes.ConformalRegressor().fit(residuals=scores)
    return float(regressor.predict_int(np.zeros(1), confidence=level - _ROUNDING)[0, 1])


def _per_image(scores: np.ndarray, image: np.ndarray, level: float) -> float:
    _, number, counts = np.unique(image, return_inverse=True, return_counts=True)
    weight = 1 / ((len(counts) + 1) * counts[number])  # (N,)
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(weight[order]) >= level - _ROUNDING
    return float(scores[order][int(np.argmax(reached))])
