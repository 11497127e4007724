"""Laws of annotation noise: by how many pixels an annotated side of a box lies outside the true one.

All laws have the mean 0; a positive value moves the side away from the center of the box. A law is defined by its
quantile function: noise is drawn as the quantile of a uniform random number, and the same function gives the law to
which learned distributions are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

_SPREAD = 12.0  # pixels, 1.5 bins of 8 pixels, so that bins of a level of stride 8 resolve the laws
_PEAK_SD = 1.5  # pixels, of each of the two peaks, so that the law has a density
_OUTWARD = np.array([-1.0, -1.0, 1.0, 1.0])  # sign of an outward movement of x1, y1, x2, y2


@dataclass(frozen=True)
class NoiseLaw:
    """A law with the mean 0 of the outward displacement of a side, in pixels."""

    quantile: Callable[[np.ndarray], np.ndarray]  # of probabilities in (0, 1)
    std: float  # exact standard deviation in pixels
    skewness: float  # exact third standardized moment; 0 for a law without spread

    def draw(self, random: np.random.Generator, count: int) -> np.ndarray:
        """Draw independent displacements.

        Args:
            random: source of random numbers.
            count: number of displacements.

        Returns:
            (count,) pixels, float64.
        """
        return self.quantile(1.0 - random.random(count))  # random() may be 0, which has no finite quantile


def _wide(probability: np.ndarray) -> np.ndarray:
    return _SPREAD * ndtri(probability)


def _skewed(probability: np.ndarray) -> np.ndarray:
    return -_SPREAD * (np.log1p(-np.asarray(probability)) + 1.0)


def _two_peaks(probability: np.ndarray) -> np.ndarray:
    # The peaks are 16 of their standard deviations apart, so that in floating point they share no quantile.
    upper = np.asarray(probability) >= 0.5
    within = np.clip(np.where(upper, 2.0 * probability - 1.0, 2.0 * probability), 1e-15, 1.0 - 1e-15)
    return np.where(upper, _SPREAD, -_SPREAD) + _PEAK_SD * ndtri(within)


def _sharp(probability: np.ndarray) -> np.ndarray:
    return np.zeros(np.shape(probability))


LAWS = {
    "sharp": NoiseLaw(_sharp, std=0.0, skewness=0.0),  # no noise
    "wide": NoiseLaw(_wide, std=_SPREAD, skewness=0.0),  # normal
    "skewed": NoiseLaw(_skewed, std=_SPREAD, skewness=2.0),  # exponential with the mean 12, minus 12
    # -12 or 12, each with probability 1/2, plus normal noise; the standard deviation is 12.09.
    "two_peaks": NoiseLaw(_two_peaks, std=float(np.hypot(_SPREAD, _PEAK_SD)), skewness=0.0),
}


def check_laws(names: Sequence[str]) -> None:
    """Check the names of the laws of the four sides.

    Args:
        names: of left, top, right, bottom.

    Raises:
        ValueError: if they are not four keys of ``LAWS``.
    """
    unknown = [name for name in names if name not in LAWS]
    if unknown or len(names) != 4:
        raise ValueError(
            f"DemoSize.noise is {tuple(names)!r}; it must name the laws of left, top, right and bottom, each one of "
            f"{', '.join(LAWS)}"
        )


class AnnotationNoise:
    """Displaces the sides of boxes; the numbers for each box are drawn once, in the order of the calls.

    Args:
        names: keys of ``LAWS`` for left, top, right, bottom.
        random: source of random numbers.
    """

    def __init__(self, names: Sequence[str], random: np.random.Generator) -> None:
        self._laws = [LAWS[name] for name in names]
        self._random = random

    def displaced(self, box: Sequence[float]) -> tuple[float, ...]:
        """Draw an annotation of a box.

        Args:
            box: true x1, y1, x2, y2 in pixels.

        Returns:
            The annotated x1, y1, x2, y2; they may lie outside the image.

        Raises:
            ValueError: if its width or height is less than a pixel; MMDetection would drop such an annotation, so that
                the annotations would no longer have the stated law.
        """
        outward = np.concatenate([law.draw(self._random, 1) for law in self._laws])
        x1, y1, x2, y2 = (float(value) for value in np.asarray(box) + _OUTWARD * outward)
        if x2 - x1 < 1 or y2 - y1 < 1:
            raise ValueError(
                f"annotation noise turned the box {tuple(box)} into ({x1:.1f}, {y1:.1f}, {x2:.1f}, {y2:.1f}), which is "
                "less than a pixel wide or high; use larger digits or another seed"
            )
        return x1, y1, x2, y2
