"""Divides images into folds, so that what is calibrated on some images is used on the others."""

from __future__ import annotations

import numpy as np

from ...metrics.matched_sides import MatchedSides

FOLDS = 5


def image_folds(sides: MatchedSides) -> np.ndarray:
    """Divide the images with matches at random into FOLDS folds of equal size; the same images give the same folds.

    Args:
        sides: the matches.

    Returns:
        (N,) fold of the image of each match, in [0, FOLDS).
    """
    images, number = np.unique(sides.image, return_inverse=True)
    return (np.random.default_rng(0).permutation(len(images)) % FOLDS)[number]
