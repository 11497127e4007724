"""Recovery of annotation noise: figures of distributions that are known, and signs of learned ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from rich.console import Console
from scipy import stats
from torch import nn

from gfl_plugin.analysis.progress import progress_display
from gfl_plugin.analysis.recovery.best_laws import best_laws, on_bins
from gfl_plugin.analysis.recovery.law_figures import law_figures
from gfl_plugin.analysis.recovery.learned_laws import SideRepresentation, learned_laws
from gfl_plugin.analysis.recovery.point_laws import PointLaws, average, distances, moments
from gfl_plugin.analysis.recovery.recovery_rows import analyse_recovery, law_points
from gfl_plugin.analysis.recovery.report_recovery import report_recovery
from gfl_plugin.analysis.recovery.trained_run import TrainedRun, noise_of, read_run, side_representation
from gfl_plugin.analysis.recovery.two_peaks import two_peaked
from gfl_plugin.analysis.studies.finished_run import FinishedRun
from gfl_plugin.analysis.studies.scale import SCALES
from gfl_plugin.analysis.studies.study import Variant, find_study
from gfl_plugin.demo.annotation_noise import LAWS
from gfl_plugin.demo.dataset import DemoSize, make_dataset
from gfl_plugin.metrics.matched_sides import MatchedSides

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
WIDTH = 8.0
BINS = SideRepresentation("bins", WIDTH * np.arange(40))
NORMAL, POINT = SideRepresentation("normal"), SideRepresentation("point")
KINDS = {"bins": BINS, "normal": NORMAL, "point": POINT}
OUTWARD = np.array([-1, -1, 1, 1])
NOISE = ("skewed", "wide", "two_peaks", "sharp")


def matched(outward: np.ndarray, std: np.ndarray | None = None, weights: np.ndarray | None = None) -> MatchedSides:
    """Detections whose four sides are predicted ``outward`` (N, 4) pixels outside those of one true box."""
    true = np.tile([300.0, 320.0, 380.0, 410.0], (len(outward), 1))
    zeros = np.zeros(len(outward), int)
    return MatchedSides(true + OUTWARD * outward, true, zeros, np.ones(len(outward)), zeros, std, weights)


def sides_that_learned(law: np.ndarray, kind: SideRepresentation, count: int = 32) -> MatchedSides:
    """Detections whose four distributions are the best ones for a law; on bins at ``count`` positions of the bins."""
    if kind.kind == "point":
        return matched(np.full((count, 4), np.median(law)))
    if kind.kind == "normal":
        return matched(np.full((count, 4), law.mean()), np.full((count, 4), law.std()))
    # A location whose distance to the true side is 19 bins and a part of one.
    distance = WIDTH * (19 + (np.arange(count) + 0.5) / count)
    position = (distance[:, None] + law) / WIDTH  # (count, Q) of annotated sides on the bins
    lower = np.floor(position).astype(int)
    weights = np.zeros((count, len(kind.bins)))
    for row in range(count):
        np.add.at(weights[row], lower[row], 1 - (position - lower)[row])
        np.add.at(weights[row], lower[row] + 1, (position - lower)[row])
    weights /= len(law)
    outward = weights @ kind.bins - distance
    return matched(np.repeat(outward[:, None], 4, axis=1), None, np.repeat(weights[:, None], 4, axis=1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", LAWS)
def test_a_head_that_has_learned_the_law_has_the_figures_of_the_best(name: str, kind: str) -> None:
    """DFL's targets, written out value by value, have the figures of the law on bins; likewise the other heads."""
    law, representation = law_points(name), KINDS[kind]
    sides = sides_that_learned(law, representation)
    best = law_figures(best_laws(law, representation), law, representation)
    for side in range(4):
        found = law_figures(learned_laws(sides, side, representation), law, representation)
        for field in vars(found).keys() - {"count"}:
            # A normal distribution of a head is on fewer points than the best one.
            tolerance = dict(abs=0.02 * law.std()) if kind == "normal" else dict(abs=1e-6, rel=1e-6)
            assert getattr(found, field) == pytest.approx(getattr(best, field), nan_ok=True, **tolerance), field


@pytest.mark.parametrize("width", [4.0, 8.0])
@pytest.mark.parametrize("name", LAWS)
def test_bins_add_triangular_noise_on_average(name: str, width: float) -> None:
    """The mean is kept, the variance grows by width²/6, and the third moment is kept."""
    law = law_points(name)
    whole = moments(average(on_bins(law, width, 64)))
    assert whole.mean[0] == pytest.approx(law.mean(), abs=1e-3 * width)
    assert whole.std[0] ** 2 == pytest.approx(law.var() + width**2 / 6, rel=1e-3)
    third = stats.skew(law) * law.std() ** 3 if law.std() else 0.0
    assert whole.skewness[0] * whole.std[0] ** 3 == pytest.approx(third, abs=0.01 * width**3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_side_that_is_too_far_outside_has_a_positive_mean(kind: str) -> None:
    """5 pixels on each of the four sides, and a standard deviation and mean that are those of the prediction."""
    weights = np.zeros((3, 4, 40))
    weights[:, :, 10], weights[:, :, 13] = 0.75, 0.25
    sides = matched(np.full((3, 4), 5.0), np.full((3, 4), 2.0), weights)
    expected = {"bins": 3 * WIDTH * np.sqrt(0.75 * 0.25), "normal": 2.0, "point": 0.0}[kind]
    for side in range(4):
        found = moments(learned_laws(sides, side, KINDS[kind]))
        assert found.mean == pytest.approx([5.0] * 3) and found.std == pytest.approx([expected] * 3, rel=0.02)
        if kind == "bins":  # the smaller probability is further outside on each side
            assert (found.skewness > 1).all()


def test_a_mirrored_law_has_the_mirrored_skewness() -> None:
    law = law_points("skewed")
    found = [moments(average(on_bins(values, WIDTH, 32))) for values in (law, -law)]
    assert found[0].skewness[0] > 1
    assert found[1].skewness[0] == pytest.approx(-found[0].skewness[0])
    assert found[1].mean[0] == pytest.approx(-found[0].mean[0])


def test_distances() -> None:
    """0 of a law to itself, the shift of a shifted law, and the mean distance of a point."""
    law = law_points("skewed")
    even = np.full((1, len(law)), 1 / len(law))
    assert distances(PointLaws(law[None], even), law)[0] == pytest.approx(0, abs=1e-9)
    assert distances(PointLaws(law[None] - 7, even), law)[0] == pytest.approx(7)
    points = PointLaws(np.array([[0.0], [3.0]]), np.ones((2, 1)))
    assert distances(points, law) == pytest.approx([np.abs(law).mean(), np.abs(law - 3).mean()])
    assert distances(points, np.zeros(5)) == pytest.approx([0, 3])


@pytest.mark.parametrize("name", LAWS)
def test_the_best_point_has_the_smallest_distance_of_all_points(name: str) -> None:
    law = law_points(name)
    best = distances(best_laws(law, POINT), law)[0]
    others = PointLaws(np.linspace(-30, 30, 121)[:, None], np.ones((121, 1)))
    assert best <= distances(others, law).min() + 1e-9


def test_two_peaks() -> None:
    """A valley that is deep enough counts, also among more bins; a shoulder, a plateau and one peak do not."""
    rows = {
        (0.0, 0.5, 0.0, 0.5, 0.0): True,
        (0.4, 0.1, 0.1, 0.2, 0.2): True,  # 0.1 deep, a quarter of 0.4
        (0.4, 0.15, 0.12, 0.2, 0.13): False,  # 0.08 deep
        (0.0, 0.5, 0.5, 0.0, 0.0): False,
        (0.4, 0.3, 0.3, 0.0, 0.0): False,
        (0.0, 0.0, 1.0, 0.0, 0.0): False,
    }
    assert two_peaked(np.array(list(rows))).tolist() == list(rows.values())
    for name in LAWS:  # only the law with two peaks has them on bins of 8 and 4 pixels, at any position
        for width in (4.0, 8.0):
            assert two_peaked(on_bins(law_points(name), width, 32).weights).all() == (name == "two_peaks")
            assert name == "two_peaks" or not two_peaked(on_bins(law_points(name), width, 32).weights).any()


def variant(name: str, order: int) -> Variant:
    return Variant(name, Path(f"{name}.py"), name.upper(), order, None, {})


def trained(name: str, order: int, seed: int, kind: SideRepresentation, shift: float = 0.0) -> TrainedRun:
    run = FinishedRun(variant(name, order), seed, Path("config.py"), Path("epoch_1.pth"))
    sides = [learned_laws(sides_that_learned(law_points(law), kind), 0, kind) for law in NOISE]
    return TrainedRun(run, NOISE, kind, tuple(PointLaws(one.values + shift, one.weights) for one in sides))


def test_rows_have_the_figures_of_each_seed_beside_the_law_of_their_side() -> None:
    runs = [trained("b", 1, 0, POINT), trained("a", 0, 1, BINS, shift=3.0), trained("a", 0, 0, BINS)]
    rows = analyse_recovery(runs)
    assert [(row.side, row.law, row.variant.name) for row in rows[:3]] == [
        ("left", "skewed", "a"), ("left", "skewed", "b"), ("top", "wide", "a")
    ]  # fmt: skip
    assert len(rows) == 8 and rows[0].seeds == (0, 1)
    for row in rows[::2]:
        assert row.learned[0].average_distance == pytest.approx(row.best.average_distance)
        assert row.learned[1].average_bias - row.learned[0].average_bias == pytest.approx(3)
    other = TrainedRun(runs[0].run, NOISE[::-1], POINT, runs[0].sides)
    with pytest.raises(ValueError, match="different noise"):
        analyse_recovery([*runs, other])


# ---------------------------------------------------------------------------------------------------
# Heads and files
# ---------------------------------------------------------------------------------------------------


def test_representations_of_the_studys_heads_are_in_pixels() -> None:
    kinds = {}
    for one in find_study(CONFIGS / "ablation", "recovery").variants:
        head = MODELS.build(SCALES["demo_noise"].config(one, CONFIGS, Path("/data")).model).bbox_head
        kinds[one.name] = side_representation(head)
    assert {name: (kind.kind, kind.bin_width) for name, kind in kinds.items()} == {
        "general": ("bins", 8.0), "general_fine": ("bins", 4.0), "gaussian": ("normal", None), "dirac": ("point", None)
    }  # fmt: skip
    assert kinds["general"].bins[-1] == kinds["general_fine"].bins[-1] == 128
    with pytest.raises(ValueError, match="uniform bins"):
        _ = SideRepresentation("bins", np.array([0.0, 8.0, 24.0])).bin_width


@pytest.mark.parametrize(("change", "message"), [("levels", "single level"), ("clip", "clip_border=False")])
def test_heads_that_do_not_fit_say_why(change: str, message: str) -> None:
    one = find_study(CONFIGS / "ablation", "recovery").variants[0]
    model = SCALES["demo" if change == "levels" else "demo_noise"].config(one, CONFIGS, Path("/data")).model
    if change == "clip":
        model.bbox_head.bbox_coder.clip_border = True
    with pytest.raises(ValueError, match=message):
        side_representation(MODELS.build(model).bbox_head)


def test_laws_are_those_of_the_recipe(tmp_path: Path) -> None:
    size = dict(train=1, val=1, side=256, digits="broad")
    assert noise_of(make_dataset(tmp_path / "noisy", DemoSize(**size, noise=NOISE))) == NOISE
    with pytest.raises(ValueError, match="have no noise; use the scale demo_noise"):
        noise_of(make_dataset(tmp_path / "clean", DemoSize(**size)))


# What the network gives for a side: probability 1/2 for the bins 4 and 6, or 9 and 11; mean and log variance; mean.
RAW = {
    "general": [30.0 if i in (4, 6) else 0.0 for i in range(17)],
    "general_fine": [30.0 if i in (9, 11) else 0.0 for i in range(33)],
    "gaussian": [np.log(5), 2 * np.log(1.5)],
    "dirac": [np.log(5)],
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [("general", 8.0), ("general_fine", 4.0), ("gaussian", 12.0), ("dirac", 0.0)],
)
def test_a_run_is_read_in_pixels(name: str, expected: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads that give every side the same distribution, with a mean of 5 strides of 8 pixels."""
    data = make_dataset(tmp_path / "data", DemoSize(train=1, val=6, side=256, digits="broad", noise=NOISE))
    one = next(v for v in find_study(CONFIGS / "ablation", "recovery").variants if v.name == name)
    cfg = SCALES["demo_noise"].config(one, CONFIGS, data)
    cfg.model.test_cfg.score_thr = 0.0
    model = MODELS.build(cfg.model)
    model.init_weights()
    nn.init.zeros_(model.bbox_head.gfl_reg.weight)
    model.bbox_head.gfl_reg.bias.data.copy_(torch.tensor(RAW[name] * 4))
    torch.save(dict(state_dict=model.state_dict(), meta={}), tmp_path / "epoch_1.pth")
    cfg.dump(tmp_path / "config.py")
    run = FinishedRun(one, 0, tmp_path / "config.py", tmp_path / "epoch_1.pth")
    with progress_display(Console(quiet=True)) as display:
        with pytest.raises(ValueError, match="no detection has a score of 0.1 and an IoU of 0.5; train longer"):
            read_run(run, display)
        monkeypatch.setattr("gfl_plugin.analysis.recovery.trained_run.SCORE", 0.0)
        found = read_run(run, display)
    assert found.noise == NOISE and len(found.sides) == 4
    # All boxes are 80 pixels wide, those of the objects are narrower or wider.
    left, right = (moments(found.sides[side]) for side in (0, 2))
    objects = [one["bbox"][2] for one in json.loads((data / "val.json").read_text())["annotations"]]
    for extra in left.mean + right.mean:
        assert np.abs(80 - extra - np.array(objects)).min() < 1e-3
    for side in found.sides:
        assert moments(side).std == pytest.approx([expected] * len(side), rel=0.02)


def test_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Table, JSON and plot have all sides and variants; values that are not defined are null, not NaN."""
    made = [trained("a", 0, 0, BINS), trained("a", 0, 1, BINS, 2.0)]
    made += [trained("b", 1, 0, NORMAL), trained("c", 2, 0, POINT)]
    module = "gfl_plugin.analysis.recovery.report_recovery"
    monkeypatch.setattr(f"{module}.read_run", lambda run, display: next(one for one in made if one.run is run))
    console = Console(quiet=True)
    about = {"scale": "demo_noise", "command": "gfl-plugin ablate recovery", "machine": "m", "date": "d"}
    with progress_display(console) as display:
        files = report_recovery([one.run for one in made], console, display, tmp_path / "out", about)
        with pytest.raises(ValueError, match="no run is finished"):
            report_recovery([], console, display, tmp_path / "none", about)
    assert [path.name for path in files] == ["recovery_laws.md", "recovery_laws.json", "recovery_laws.png"]
    text = files[0].read_text()
    assert "command: `gfl-plugin ablate recovery`" in text and "seeds: 0, 1." in text
    assert text.count("| the law itself |") == 4 and "| left: skewed | A |" in text
    content = json.loads(files[1].read_text(), parse_constant=lambda name: pytest.fail(name))
    assert len(content["rows"]) == 12 and content["scale"] == "demo_noise"
    points = [row for row in content["rows"] if row["variant"] == "c"]
    assert all(row["learned"][0]["skewness"] is None and row["best"]["two_peaked"] is None for row in points)
    assert files[2].stat().st_size > 10_000
