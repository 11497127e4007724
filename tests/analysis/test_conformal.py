"""Quantiles of split conformal prediction: their definitions, and the coverage that they guarantee."""

from __future__ import annotations

import math
import sys
from fractions import Fraction

import gfl_plugin  # noqa: F401  # isort: skip  (must precede mmdet without compiled ops)
import numpy as np
import pytest
from cases import FIGURES

from gfl_plugin.analysis.calibration.conformal import PER, conformal_quantile, needed_samples
from gfl_plugin.runtime.install_advice import MissingPackageError

# Levels as people write them; as binary fractions, (n + 1) * level is often just above or below a whole number.
LEVELS = [Fraction(text) for text in ("0.5", "0.68", "0.7", "0.8", "0.9", "0.95", "0.975", "0.99")]
COUNTS = (1, 2, 3, 4, 9, 10, 19, 20, 38, 39, 49, 59, 99, 100, 199, 999, 1000)


@pytest.mark.parametrize("level", LEVELS, ids=str)
def test_per_match_is_the_order_statistic_of_the_definition(level: Fraction) -> None:
    """The ceil((n+1)·level)-th smallest score, in exact arithmetic; the error is raised where it does not exist."""
    random = np.random.default_rng(0)
    for count in COUNTS:
        scores = random.permutation(count) + 1.0  # the k-th smallest is k
        rank = math.ceil((count + 1) * level)
        if rank <= count:
            assert conformal_quantile(scores, np.arange(count), float(level), "match") == rank
        else:
            with pytest.raises(ValueError, match=f"needs at least {needed_samples(float(level))} matches"):
                conformal_quantile(scores, np.arange(count), float(level), "match")


def weighted_quantile(scores: list[int], image: list[int], level: Fraction) -> int | None:
    """By definition, in exact arithmetic: the smallest score whose weights reach the level; None for infinity."""
    images = {number: image.count(number) for number in image}
    for candidate in sorted(scores):
        weights = [Fraction(1, (len(images) + 1) * images[i]) for s, i in zip(scores, image) if s <= candidate]
        if sum(weights) >= level:
            return candidate
    return None


@pytest.mark.parametrize("level", LEVELS, ids=str)
def test_per_image_is_the_weighted_quantile_of_the_definition(level: Fraction) -> None:
    """With random numbers of matches per image, and equal scores; images need not be sorted or numbered from 0."""
    random = np.random.default_rng(1)
    for images in (1, 2, 4, 9, 10, 19, 20, 39, 99):
        counts = random.integers(1, 6, images)
        image = random.permutation(np.repeat(3 + 2 * np.arange(images), counts))
        scores = random.integers(0, 2 * len(image), len(image)).astype(float)
        expected = weighted_quantile(scores.astype(int).tolist(), image.tolist(), level)
        if expected is None:
            with pytest.raises(ValueError, match="images with matches, but there are"):
                conformal_quantile(scores, image, float(level), "image")
        else:
            assert conformal_quantile(scores, image, float(level), "image") == expected


@pytest.mark.parametrize("level", LEVELS, ids=str)
def test_with_one_match_per_image_both_are_equal(level: Fraction) -> None:
    random = np.random.default_rng(2)
    for count in (99, 100, 250, 999):
        scores = random.exponential(size=count)
        found = [conformal_quantile(scores, random.permutation(count), float(level), per) for per in PER]
        assert found[0] == found[1] in scores


@pytest.mark.parametrize("level", LEVELS, ids=str)
def test_the_needed_number_is_the_least_with_a_finite_margin(level: Fraction) -> None:
    assert needed_samples(float(level)) == math.ceil(level / (1 - level))
    for per in PER:
        needed = needed_samples(float(level))
        assert conformal_quantile(np.arange(float(needed)), np.arange(needed), float(level), per) == needed - 1


@pytest.mark.parametrize(("per", "samples"), [("image", "images with matches"), ("match", "matches")])
def test_too_few_samples_are_an_error_with_the_number_that_is_needed(per: str, samples: str) -> None:
    """The level that the message offers can be reached with the samples that there are."""
    image = np.repeat(np.arange(8), 1 if per == "match" else 5)
    scores = np.arange(float(len(image)))
    with pytest.raises(ValueError) as raised:
        conformal_quantile(scores, image, 0.9, per)
    message = (
        f"a level of 0.9 needs at least 9 {samples}, but there are 8; use more labelled images, or a level of at most"
    )
    assert str(raised.value) == message + " 0.888"
    conformal_quantile(scores, image, 0.888, per)


def test_without_crepes_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "crepes", None)
    with pytest.raises(MissingPackageError, match=r"crepes is not installed; install it by: pip install .*calibrate"):
        conformal_quantile(np.arange(20.0), np.arange(20), 0.9, "match")
    assert conformal_quantile(np.arange(20.0), np.arange(20), 0.9, "image") == 18


# --- coverage ------------------------------------------------------------------------------------------------------


def draw_images(random: np.random.Generator, images: int) -> list[np.ndarray]:
    """Scores of the matches of exchangeable images.

    An image of many objects (a crowd of small ones) has small errors, and all scores of an image share a factor.
    """
    counts = random.choice([1, 2, 40], images, p=[0.4, 0.3, 0.3])
    effect = random.lognormal(0, 0.7, images) * np.where(counts == 40, 0.3, 1.0)
    return [factor * random.exponential(1, count) for factor, count in zip(effect, counts)]


def coverage_of_a_new_match(per: str, level: float, images: int, repetitions: int) -> tuple[float, float]:
    """Mean and standard error of the coverage of a random match of a new image, over calibrations."""
    random = np.random.default_rng(3)
    fresh = draw_images(random, 4000)
    margins = []
    for _ in range(repetitions):
        parts = draw_images(random, images)
        image = np.repeat(np.arange(images), [len(part) for part in parts])
        margins.append(conformal_quantile(np.concatenate(parts), image, level, per))
    # All matches of an image count together as much as one match that is drawn from it at random.
    shares = np.array([np.searchsorted(np.sort(part), margins, side="right") / len(part) for part in fresh])
    by_calibration, by_image = shares.mean(axis=0), shares.mean(axis=1)
    error = math.hypot(by_calibration.std() / repetitions**0.5, by_image.std() / len(fresh) ** 0.5)
    return float(shares.mean()), error


@pytest.mark.parametrize(("level", "images"), [(0.8, 30), (0.9, 50)])
def test_coverage_per_image_reaches_the_level_where_matches_depend_on_each_other(level: float, images: int) -> None:
    """Per image, it is at least the level, up to three standard errors of the simulation; per match it falls short."""
    covered, error = coverage_of_a_new_match("image", level, images, 250)
    FIGURES[f"coverage per image, level {level}, {images} images"] = f"{covered:.3f} ± {error:.3f}"
    assert level - 3 * error <= covered <= level + 2 / images + 3 * error and error < 0.008
    short, error = coverage_of_a_new_match("match", level, images, 250)
    FIGURES[f"coverage per match, level {level}, {images} images"] = f"{short:.3f} ± {error:.3f}"
    assert short < level - 6 * error


@pytest.mark.parametrize("per", PER)
@pytest.mark.parametrize(("level", "count"), [(0.9, 9), (0.9, 24), (0.8, 11)])
def test_coverage_of_independent_scores_is_exact(per: str, level: float, count: int) -> None:
    """It is ceil((n+1)·level) / (n+1): the coverage of uniform scores is the quantile itself."""
    random = np.random.default_rng(4)
    found = [conformal_quantile(random.random(count), np.arange(count), level, per) for _ in range(4000)]
    expected = math.ceil(Fraction(str(level)) * (count + 1)) / (count + 1)
    assert expected >= level
    assert abs(np.mean(found) - expected) < 4 * np.std(found) / len(found) ** 0.5
