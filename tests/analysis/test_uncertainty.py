"""The study of uncertainty: spreads, their correlation with errors, and widths of intervals on synthetic matches."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from gfl_plugin.analysis.progress import progress_display
from gfl_plugin.analysis.studies.finished_run import FinishedRun
from gfl_plugin.analysis.studies.study import Variant
from gfl_plugin.analysis.uncertainty import report
from gfl_plugin.analysis.uncertainty.correlation import error_correlations
from gfl_plugin.analysis.uncertainty.divisions import division_coverage, random_divisions
from gfl_plugin.analysis.uncertainty.figures import spread_figures
from gfl_plugin.analysis.uncertainty.run_sides import RunSides, join_sides
from gfl_plugin.analysis.uncertainty.spreads import (
    BOX_SIZE,
    EVEN_FLOOR,
    NO_FLOOR,
    NOTHING,
    SIGMA,
    candidate_spreads,
)
from gfl_plugin.analysis.uncertainty.widths import interval_width
from gfl_plugin.metrics.matched_sides import MatchedSides
from gfl_plugin.structures.calibration import BOX, SIDE

CLASSES = ("a", "b")


def normal_sides(seed: int, images: int = 80, per_image: int = 10) -> MatchedSides:
    """Matches whose errors are normal with exactly the predicted standard deviations, which differ by a factor of 8."""
    random = np.random.default_rng(seed)
    count = images * per_image
    corner = random.uniform(0, 200, (count, 2))
    predicted = np.concatenate([corner, corner + random.uniform(60, 200, (count, 2))], axis=1)
    std = np.exp(random.uniform(np.log(0.5), np.log(4), (count, 4)))
    return MatchedSides(
        predicted=predicted,
        true=predicted + std * random.standard_normal((count, 4)),
        labels=random.integers(0, 2, count),
        scores=np.ones(count),
        image=np.repeat(np.arange(images), per_image),
        std=std,
    )


def test_the_floor_of_two_bins_is_their_variance() -> None:
    """A side between two bins keeps no variance without the floor, whatever its place; one on three bins does."""
    fraction = np.array([0.1, 0.25, 0.5, 0.9])
    two = np.zeros((4, 4, 5))
    two[..., 2], two[..., 3] = 1 - fraction[:, None], fraction[:, None]
    wide = np.broadcast_to([0.0, 0.25, 0.5, 0.25, 0.0], (1, 4, 5))
    stride = 8.0
    std = stride * np.sqrt(np.concatenate([fraction * (1 - fraction), [0.5]]))[:, None].repeat(4, axis=1)
    sides = replace(normal_sides(0, 5, 1), std=std, distributions=np.concatenate([two, wide]))
    found = candidate_spreads(sides, np.arange(5.0))
    bins = found[NO_FLOOR].std / stride
    assert np.allclose(bins[:4], 0.02**0.5) and np.allclose(bins[4], 0.5**0.5)
    assert np.allclose(found[EVEN_FLOOR].std[:4] / stride, (0.02 + 1 / 6) ** 0.5)
    assert found[SIGMA] is sides


def test_sides_without_spread_have_two_candidates() -> None:
    sides = replace(normal_sides(0), std=np.zeros((800, 4)))
    found = candidate_spreads(sides, None)
    assert list(found) == [BOX_SIZE, NOTHING]
    assert (found[NOTHING].std == 1).all()
    assert np.allclose(found[BOX_SIZE].std[:, 1], sides.predicted[:, 3] - sides.predicted[:, 1])


def test_correlations_are_per_side_and_not_defined_for_a_constant() -> None:
    sides = normal_sides(1)
    exact = replace(sides, std=np.abs(sides.errors) ** 2)
    assert all(value == pytest.approx(1) for value in error_correlations(exact).values())
    swapped = replace(exact, std=exact.std * np.array([-1, 1, 1, 1]))
    found = error_correlations(swapped)
    assert found["left"] == pytest.approx(-1) and found["right"] == pytest.approx(1)
    assert 0.3 < error_correlations(sides)["all"] < 0.8
    assert np.isnan(error_correlations(replace(sides, std=np.ones_like(sides.std)))["all"])


@pytest.mark.parametrize("statement", [BOX, SIDE])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_true_deviations_cover_the_level_and_are_narrower_than_a_constant(statement: str, level: float) -> None:
    """At 80 % they need not be narrower: margins of equal coverage everywhere are not those of the least mean width."""
    pair = (normal_sides(2, images=400), normal_sides(3, images=400))
    learned, constant = (
        interval_width([tuple(candidate_spreads(sides, None)[name] for sides in pair)], level, statement, CLASSES)
        for name in (SIGMA, NOTHING)
    )
    for width in (learned, constant):
        assert width.coverage == pytest.approx(level, abs=0.02)
        assert width.exact_margin == pytest.approx(width.margin, rel=0.05)
    if level == 0.95:
        assert learned.exact_margin < 0.85 * constant.exact_margin
    if statement == SIDE:  # quantiles of the normal distribution
        quantile = {0.8: 1.2816, 0.95: 1.96}[level]
        assert learned.margin == pytest.approx(quantile * pair[1].std.mean(), rel=0.06)


def test_divisions_are_by_image() -> None:
    sides = normal_sides(4)
    for first, rest in random_divisions(sides, 30, 5):
        assert len(np.unique(sides.image[first])) == 30 and len(np.unique(sides.image[rest])) == 50
        assert not set(sides.image[first]) & set(sides.image[rest])
        assert (first ^ rest).all()


def test_the_mean_over_divisions_is_the_level_and_single_ones_scatter() -> None:
    (found,) = division_coverage(normal_sides(5), 40, [report.Request(0.9)], CLASSES)
    assert found.mean == pytest.approx(0.91, abs=0.015) and 0.005 < found.deviation < 0.04


def test_images_of_both_sets_stay_different() -> None:
    joined = join_sides(normal_sides(0, images=3), normal_sides(1, images=4))
    assert len(np.unique(joined.image)) == 7 and len(joined) == 70 and joined.distributions is None


def variant(name: str, order: int) -> Variant:
    return Variant(name, Path(f"{name}.py"), name.title(), order, None, {})


def run_of(name: str, seed: int, with_std: bool) -> RunSides:
    val, test = normal_sides(10 + seed), normal_sides(20 + seed)
    if not with_std:
        val, test = (replace(sides, std=None) for sides in (val, test))
    run = FinishedRun(variant(name, 0), seed, Path("config.py"), Path("epoch_1.pth"))
    return RunSides(run, ((val, test),), test, join_sides(val, test), 80, None)


def test_figures_are_paired_by_seed() -> None:
    runs = [run_of("gaussian", seed, True) for seed in (0, 1)] + [run_of("dirac", 1, False)]
    rows = {(one.variant, one.spread): one for one in spread_figures(runs, CLASSES, lambda: None)}
    assert set(rows) == {("Gaussian", SIGMA), *((v, s) for v in ("Gaussian", "Dirac") for s in (BOX_SIZE, NOTHING))}
    learned, constant = rows["Gaussian", SIGMA], rows["Gaussian", NOTHING]
    assert learned.seeds == (0, 1) and rows["Dirac", NOTHING].seeds == (1,)
    for place in (0, 1):
        own, other = (one.widths[BOX][0.9][place].exact_margin for one in (learned, constant))
        assert learned.narrower[BOX][0.9][place] == pytest.approx(1 - own / other)
    assert constant.narrower[SIDE][0.8] == (0.0, 0.0)


def test_the_report_has_the_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_seed = {seed: run_of("gaussian", seed, True) for seed in (0, 1)}
    by_seed = {seed: replace(run, bins=None) for seed, run in by_seed.items()}
    monkeypatch.setattr(report, "run_sides", lambda run, display: by_seed[run.seed])
    monkeypatch.setattr(report, "_classes", lambda run: CLASSES)
    console = Console(file=io.StringIO(), width=250)
    with progress_display(console) as display:
        about = {"scale": "demo", "command": "gfl-plugin ablate x"}
        paths = report.report_uncertainty([run.run for run in by_seed.values()], console, display, tmp_path, about)
    assert [path.suffix for path in paths] == [".md", ".json", ".png"] and all(path.stat().st_size for path in paths)
    content, text = json.loads(paths[1].read_text()), paths[0].read_text()
    row = next(one for one in content["rows"] if one["spread"] == SIGMA)
    coverage = [100 * width["coverage"] for width in row["widths"][BOX]["0.9"]]
    assert f"{np.mean(coverage):.1f} ± {np.std(coverage, ddof=1):.1f} %" in text
    assert "`gfl-plugin ablate x`" in text
