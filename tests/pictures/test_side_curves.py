"""Curves of sides have the distribution of the side, in pixels of the image, and one scale."""

from __future__ import annotations

import numpy as np
import pytest

from gfl_plugin.pictures.side_curves import curves_of_bins, curves_of_normals

BINS = {"uniform": np.arange(17.0), "half": np.arange(-1, 9, 0.5), "growing": np.cumsum(1.2 ** np.arange(12)) - 1}


def random_distributions(count: int, bins: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    logits = random.normal(0, 3, (count, 4, bins))
    return np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)


@pytest.mark.parametrize("bins", BINS.values(), ids=BINS)
def test_positions_of_bins_are_measured_from_the_point(bins: np.ndarray) -> None:
    distributions = random_distributions(5, len(bins))
    points = np.random.default_rng(1).uniform(1, 50, (5, 4))
    curves = curves_of_bins(distributions, points, bins)
    for row, (x, y, x_scale, y_scale) in enumerate(points):
        left, top, right, bottom = curves.positions[row]
        np.testing.assert_allclose((x - left) / x_scale, bins, atol=1e-9)
        np.testing.assert_allclose((y - top) / y_scale, bins, atol=1e-9)
        np.testing.assert_allclose((right - x) / x_scale, bins, atol=1e-9)
        np.testing.assert_allclose((bottom - y) / y_scale, bins, atol=1e-9)


def test_heights_are_the_probabilities_if_all_steps_are_equal() -> None:
    for name in ("uniform", "half"):
        distributions = random_distributions(3, len(BINS[name]))
        np.testing.assert_allclose(curves_of_bins(distributions, np.ones((3, 4)), BINS[name]).heights, distributions)


@pytest.mark.parametrize("bins", BINS.values(), ids=BINS)
def test_curves_of_bins_have_one_area(bins: np.ndarray) -> None:
    """Fine and coarse bins are on one scale: what is drawn has the same area, whatever bins the side lies in."""
    inner = random_distributions(6, len(bins) - 2, seed=2)
    distributions = np.pad(inner, ((0, 0), (0, 0), (1, 1)))  # the curve ends at 0
    heights = curves_of_bins(distributions, np.ones((6, 4)), bins).heights
    assert heights.max() <= 1
    area = ((heights[..., 1:] + heights[..., :-1]) / 2 * np.diff(bins)).sum(axis=2)
    np.testing.assert_allclose(area, np.gradient(bins).min())


def test_normal_curves_have_one_area_and_their_peaks_at_the_sides() -> None:
    random = np.random.default_rng(3)
    boxes, std = random.uniform(0, 100, (4, 4)), random.uniform(0.5, 20, (4, 4))
    curves = curves_of_normals(boxes, std)
    peak = np.take_along_axis(curves.positions, curves.heights.argmax(axis=2)[..., None], axis=2)[..., 0]
    np.testing.assert_allclose(peak, boxes)
    between = (curves.heights[..., 1:] + curves.heights[..., :-1]) / 2
    area = (between * np.diff(curves.positions, axis=2)).sum(axis=2)
    np.testing.assert_allclose(area, area[0, 0])
    assert curves.heights.max() == 1
    mean = (curves.heights * curves.positions).sum(axis=2) / curves.heights.sum(axis=2)
    spread = (curves.heights * (curves.positions - mean[..., None]) ** 2).sum(axis=2) / curves.heights.sum(axis=2)
    np.testing.assert_allclose(np.sqrt(spread), std, rtol=0.02)  # cut off at three standard deviations


def test_no_boxes_have_no_curves() -> None:
    assert curves_of_normals(np.zeros((0, 4)), np.zeros((0, 4))).heights.shape[0] == 0
    assert curves_of_bins(np.zeros((0, 4, 17)), np.zeros((0, 4)), BINS["uniform"]).heights.shape == (0, 4, 17)
