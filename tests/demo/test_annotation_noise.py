"""Annotation noise has the stated laws and concerns the training annotations alone; pictures stay as they are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from gfl_plugin.demo.annotation_noise import LAWS, AnnotationNoise
from gfl_plugin.demo.dataset import DemoSize, make_dataset

SIZE = dict(train=40, val=4, side=256, digits="broad")
NOISE = ("skewed", "wide", "two_peaks", "sharp")


def two_peaks(x: np.ndarray) -> np.ndarray:
    return (stats.norm.cdf(x, -12, 1.5) + stats.norm.cdf(x, 12, 1.5)) / 2


# Cumulative distributions as SciPy has them.
EXPECTED = {"wide": stats.norm(0, 12).cdf, "skewed": stats.expon(-12, 12).cdf, "two_peaks": two_peaks}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_law_is_the_stated_one(name: str) -> None:
    drawn = LAWS[name].draw(np.random.default_rng(0), 100_000)
    assert stats.kstest(drawn, EXPECTED[name]).pvalue > 0.01
    probability = np.linspace(0.001, 0.999, 1998)  # without 0.5, where the two peaks meet
    assert EXPECTED[name](LAWS[name].quantile(probability)) == pytest.approx(probability, abs=1e-12)


@pytest.mark.parametrize("name", LAWS)
def test_moments_of_a_law(name: str) -> None:
    """Mean 0, and the stated standard deviation and skewness, within five standard errors of 400,000 draws."""
    law, count = LAWS[name], 400_000
    drawn = law.draw(np.random.default_rng(1), count)
    if name == "sharp":
        assert not drawn.any() and law.std == law.skewness == 0
        return
    assert abs(drawn.mean()) < 5 * law.std / count**0.5
    for power, expected in ((2, 1.0), (3, law.skewness)):
        powers = (drawn / law.std) ** power
        assert abs(powers.mean() - expected) < 5 * powers.std() / count**0.5


def boxes(root: Path, part: str) -> np.ndarray:
    """(N, 4) x1, y1, x2, y2 of all annotations."""
    found = np.array(
        [annotation["bbox"] for annotation in json.loads((root / f"{part}.json").read_text())["annotations"]]
    )
    return np.concatenate([found[:, :2], found[:, :2] + found[:, 2:]], axis=1)


def test_only_the_training_annotations_have_noise(tmp_path: Path) -> None:
    """The images and the validation annotations are equal; the training boxes differ on the sides with noise."""
    clean = make_dataset(tmp_path / "clean", DemoSize(**SIZE))
    noisy = make_dataset(tmp_path / "noisy", DemoSize(**SIZE, noise=NOISE))
    pictures = sorted(path.relative_to(clean) for path in clean.rglob("*.png"))
    assert len(pictures) == 44
    for path in pictures:
        assert np.array_equal(np.asarray(Image.open(clean / path)), np.asarray(Image.open(noisy / path)))
    assert (clean / "val.json").read_bytes() == (noisy / "val.json").read_bytes()
    outward = (boxes(noisy, "train") - boxes(clean, "train")) * [-1, -1, 1, 1]
    assert len(outward) > 60
    assert (outward[:, :3] != 0).all() and outward[:, 3] == pytest.approx(0, abs=1e-9)
    for side, name in enumerate(NOISE[:3]):
        assert stats.kstest(outward[:, side], EXPECTED[name]).pvalue > 0.01


def test_broad_digits_are_clear_and_of_one_class(tmp_path: Path) -> None:
    """Their pictures show every true side, and only boxes are learned."""
    root = make_dataset(tmp_path / "data", DemoSize(**SIZE))
    content = json.loads((root / "train.json").read_text())
    assert content["categories"] == [{"id": 0, "name": "digit"}]
    assert {(one["category_id"], one["condition"]) for one in content["annotations"]} == {(0, "clear")}


def test_annotations_keep_a_positive_size_and_may_leave_the_image(tmp_path: Path) -> None:
    noisy = boxes(make_dataset(tmp_path / "data", DemoSize(**SIZE, noise=NOISE)), "train")
    assert (noisy[:, 2:] - noisy[:, :2]).min() > 8
    assert noisy.min() < 0  # not clipped, since the law would be another one at the border
    noise = AnnotationNoise(("wide", "sharp", "wide", "sharp"), np.random.default_rng(0))
    with pytest.raises(ValueError, match="less than a pixel wide or high; use larger digits or another seed"):
        for _ in range(100):
            noise.displaced((0, 0, 4, 4))


def test_noise_is_reproducible_and_part_of_the_recipe(tmp_path: Path) -> None:
    size = DemoSize(train=2, val=1, side=256, digits="broad", noise=NOISE)
    root = make_dataset(tmp_path / "a", size)
    make_dataset(root, size)  # is kept
    again = make_dataset(tmp_path / "b", size)
    assert (root / "train.json").read_bytes() == (again / "train.json").read_bytes()
    with pytest.raises(FileExistsError, match="'noise': .*use another folder"):
        make_dataset(root, DemoSize(train=2, val=1, side=256, digits="broad"))
    assert "noise" not in json.loads(
        (make_dataset(tmp_path / "c", DemoSize(train=2, val=1)) / "recipe.json").read_text()
    )


@pytest.mark.parametrize("noise", [("wide", "wide", "wide", "narrow"), ("wide", "wide")])
def test_an_unknown_law_names_the_laws(noise: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="DemoSize.noise is .* each one of sharp, wide, skewed, two_peaks"):
        make_dataset(tmp_path / "data", DemoSize(train=2, val=1, noise=noise))
    assert not (tmp_path / "data").exists()
