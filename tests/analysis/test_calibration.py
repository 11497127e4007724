"""Calibration of a detector: margins of matched sides, their coverage, and the command that writes them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import gfl_plugin  # noqa: F401  # isort: skip  (must precede mmdet without compiled ops)
import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict

from gfl_plugin import cli
from gfl_plugin.analysis.calibration.calibrate import compare_units, fit_calibration
from gfl_plugin.analysis.calibration.coverage import Coverage, covered_sides, measure_coverage
from gfl_plugin.analysis.calibration.fit import Request, fit_margins, side_scores
from gfl_plugin.analysis.labelled_images import labelled_loader
from gfl_plugin.demo.dataset import DemoSize, make_dataset
from gfl_plugin.heads.box_intervals import read_calibration
from gfl_plugin.metrics.image_boxes import boxes_of, ground_truth
from gfl_plugin.metrics.matched_sides import MatchedSides
from gfl_plugin.metrics.matching import Boxes, match_image, pairwise_overlap

CLASSES = ("a", "b", "c")
DIGITS = tuple("0123456789")
DIRAC = {"model.bbox_head.bbox_coder": dict(type="gfl_plugin.DiracBBoxCoder"), "model.bbox_head.loss_dfl": "by_coder"}


def random_sides(seed: int, images: int = 60, rare: int = 0) -> MatchedSides:
    """Matches with an IoU of at least 0.5 whose errors grow with the predicted deviation and with the class."""
    random = np.random.default_rng(seed)
    image = np.repeat(np.arange(images), random.integers(1, 6, images))
    corner, size = random.uniform(0, 200, (len(image), 2)), random.uniform(8, 160, (len(image), 2))
    labels = random.integers(0, 2, len(image))
    labels[:rare] = 2
    std = random.uniform(0.2, 4, (len(image), 4))
    predicted = np.concatenate([corner, corner + size], axis=1)
    true = predicted + random.normal(size=std.shape) * std * (1 + labels[:, None])
    iou = np.array([pairwise_overlap(one[None], two[None])[0, 0] for one, two in zip(predicted, true)])
    sides = MatchedSides(predicted, true, labels, random.random(len(image)), image, std)
    return sides.rows(iou >= 0.5)


def test_scores_are_errors_in_units() -> None:
    sides, units = random_sides(0), {"std": None, "size": None, "constant": 1.0}
    units["std"] = sides.std
    units["size"] = np.tile(sides.predicted[:, 2:] - sides.predicted[:, :2], 2)
    for unit, values in units.items():
        np.testing.assert_allclose(side_scores(sides, unit), np.abs(sides.true - sides.predicted) / values)


@pytest.mark.parametrize("per", ["image", "match"])
@pytest.mark.parametrize("statement", ["box", "side"])
@pytest.mark.parametrize("unit", ["std", "size", "constant"])
def test_margins_are_the_smallest_that_cover_the_level_of_their_own_matches(
    unit: str, statement: str, per: str
) -> None:
    """Boxes, or each side, with the correction for the number of samples; below them, the level is not reached."""
    sides = random_sides(1)
    request = Request(0.8, statement, unit, per)
    (everything,) = fit_margins(sides, request, CLASSES)
    scores = side_scores(sides, unit)
    scores = [scores.max(axis=1)] * 4 if statement == "box" else scores.T
    _, number, counts = np.unique(sides.image, return_inverse=True, return_counts=True)
    samples = len(counts) if per == "image" else len(sides)
    weight = 1 / counts[number] if per == "image" else np.ones(len(sides))
    assert (everything.name, everything.matches, everything.images) == ("all", len(sides), len(counts))
    for quantile, own in zip(everything.quantiles, scores):
        share, below = (weight @ (own <= quantile)) / (samples + 1), (weight @ (own < quantile)) / (samples + 1)
        assert below < 0.8 <= share + 1e-12  # the rounding of the sum
    assert (len({*everything.quantiles}) == 1) == (statement == "box")


@pytest.mark.parametrize("group_by", ["class", "size"])
def test_margins_of_a_group_are_those_of_its_matches(group_by: str) -> None:
    """A group with too few matches has none of its own, whether it lacks matches or images for the level."""
    sides = random_sides(2, images=120, rare=12)
    request = Request(0.9, group_by=group_by, enough=20)
    everything, *groups = fit_margins(sides, request, CLASSES)
    area = (sides.predicted[:, 2:] - sides.predicted[:, :2]).prod(axis=1)
    masks = {name: sides.labels == i for i, name in enumerate(CLASSES)}
    if group_by == "size":
        masks = {"small": area < 1024, "medium": (area >= 1024) & (area < 9216), "large": area >= 9216}
    assert [one.name for one in groups] == [*masks]
    assert everything == fit_margins(sides, replace(request, group_by=None), CLASSES)[0]
    for one in groups:
        rows = masks[one.name]
        assert one.matches == rows.sum() and one.images == len({*sides.image[rows]})
        if one.name == "c":
            assert one.quantiles is None and 0 < one.matches < 20
        else:
            assert one.quantiles == fit_margins(sides.rows(rows), Request(0.9), CLASSES)[0].quantiles
    few_images = fit_margins(sides, Request(0.98, group_by="size", enough=1), CLASSES)
    assert [one.quantiles is None for one in few_images] == [one.images < 49 for one in few_images]
    calibration, _ = fit_calibration(sides, request, CLASSES)
    assert {"all", *masks} - {*calibration.quantiles} == ({"c"} if group_by == "class" else set())


def test_without_matches_or_with_too_few_images_the_error_says_what_is_missing() -> None:
    sides = random_sides(3, images=30)
    nothing = sides.rows(np.zeros(len(sides), bool))
    with pytest.raises(ValueError, match="no detection matches an object at an IoU of 0.5 or more.*gfl-plugin test"):
        fit_margins(nothing, Request(0.9), CLASSES)
    with pytest.raises(ValueError, match="a level of 0.99 needs at least 99 images with matches, but there are"):
        fit_margins(sides, Request(0.99), CLASSES)


@pytest.mark.parametrize("level", [0, 1, -0.5, 90, float("nan")])
def test_a_level_out_of_range_is_an_error(level: float) -> None:
    with pytest.raises(ValueError, match="must be a number between 0 and 1, such as 0.9"):
        Request(level)


@pytest.mark.parametrize("unit", ["std", "size", "constant"])
@pytest.mark.parametrize("statement", ["box", "side"])
def test_coverage_is_the_share_of_errors_within_the_margins(statement: str, unit: str) -> None:
    """Lying between inner and outer box is the same as an error within the margin, also beyond the center."""
    sides, others = random_sides(4), random_sides(5, images=50)
    calibration, _ = fit_calibration(sides, Request(0.8, statement, unit, group_by="class", enough=20), CLASSES)
    units = {"std": others.std, "constant": 1, "size": np.tile(others.predicted[:, 2:] - others.predicted[:, :2], 2)}
    names = [CLASSES[label] for label in others.labels]
    margins = np.array([calibration.quantiles.get(name, calibration.quantiles["all"]) for name in names]) * units[unit]
    covered = np.abs(others.errors) <= margins
    np.testing.assert_array_equal(covered_sides(others, margins), covered)
    np.testing.assert_array_equal(covered_sides(others, margins * 50), np.ones_like(covered))
    covered = covered if statement == "side" else covered.all(axis=1, keepdims=True)
    found = measure_coverage(others, calibration)
    assert [one.group for one in found] == ["all", *CLASSES]
    for one in found:
        rows = np.ones(len(others), bool) if one.group == "all" else np.array(names) == one.group
        images = {*others.image[rows]}
        assert (one.covered, one.trials, one.matches, one.images) == (
            covered[rows].sum(), covered[rows].size, rows.sum(), len(images)
        )  # fmt: skip
        shares = [covered[rows & (others.image == image)].mean() for image in images]
        assert one.per_image == pytest.approx(np.mean(shares) if shares else np.nan, nan_ok=True)
        assert one.margin == pytest.approx(margins[rows].mean() if rows.any() else np.nan, nan_ok=True)
    assert 0.6 < found[0].share < 0.98


def test_coverage_of_the_calibration_itself_is_at_least_the_level() -> None:
    sides = random_sides(6)
    for unit, (everything,) in compare_units(sides, sides, Request(0.8), CLASSES, ["std", "size", "constant"]).items():
        assert everything.per_image >= 0.8 - 1 / everything.images, unit


def test_the_interval_of_the_share_is_clopper_and_pearsons() -> None:
    """Its limits are where the probability of so many, or so few, covered trials is 2.5 %."""
    from scipy.stats import binom

    low, high = Coverage("all", 40, 10, 33, 40, 0.8, 1.0).confidence_interval()
    assert binom.sf(32, 40, low) == pytest.approx(0.025) and binom.cdf(33, 40, high) == pytest.approx(0.025)
    assert Coverage("all", 0, 0, 0, 0, 0.0, 0.0).confidence_interval() == (0, 1)


# --- the command ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of large digits, which boxes of random weights match, and a detector with random weights."""
    root = tmp_path_factory.mktemp("calibrate")
    make_dataset(root / "large", DemoSize(train=16, val=14, side=64, digits="large"))
    make_dataset(root / "tiny", DemoSize(train=1, val=4, side=64, digits="tiny"))
    for name, config in (("epoch_1.pth", detector_config(root)), ("dirac.pth", detector_config(root, **DIRAC))):
        torch.manual_seed(0)
        state = MODELS.build(config.model).state_dict()
        torch.save(dict(state_dict=state, meta=dict(dataset_meta=dict(classes=DIGITS))), root / name)
    return root


def detector_config(root: Path, **changes: object) -> Config:
    """The demo's detector with many detections; ``val`` and ``test`` are different images of ``large``."""
    config = Config.fromfile(gfl_plugin.find_config("gfl_plugin::demo/gfl_r18_demo.py"))
    nms = dict(type="nms", iou_threshold=0.9)
    config.model.bbox_head.reg_max = 8  # boxes of random weights are then as wide as the images
    config.model.test_cfg.update(score_thr=1e-6, nms_pre=300, nms=nms, max_per_img=300)
    for name in ("train", "val", "test"):
        loader = config[f"{name}_dataloader"].copy()
        loader.dataset = ConfigDict({**loader.dataset, "data_root": f"{root}/large/"})
        config[f"{name}_dataloader"] = loader
    held_out = dict(ann_file="train.json", data_prefix=dict(img="train/"))
    config.test_dataloader.dataset.update(held_out)
    config.merge_from_dict(changes)
    if "bbox_coder" in config.model.bbox_head:  # of a Dirac head, which has no bins
        del config.model.bbox_head["reg_max"]
    return config


def calibrate(root: Path, *words: object, config: Config | None = None, checkpoint: str = "epoch_1.pth") -> int:
    """Run ``gfl-plugin calibrate``; the config is written into ``root``."""
    (config or detector_config(root)).dump(root / "config.py")
    return cli.main(["calibrate", str(root / "config.py"), str(root / checkpoint), *map(str, words)])


def test_the_command_writes_a_file_that_the_detector_takes(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """The margins cover the level of the boxes of the calibration images, measured with the intervals of results."""
    path = tmp_path / "calibration.json"
    assert calibrate(folder, "--level", 0.8, "--verify", "test", "-o", path) == 0
    printed = capsys.readouterr().out
    assert f'model = dict(test_cfg=dict(intervals="{path}"))' in printed and "test: coverage and width" in printed
    calibration = read_calibration(path)
    assert (calibration.level, calibration.unit, calibration.statement) == (0.8, "std", "box")
    assert calibration.classes == DIGITS and calibration.about["data"] == "val: val.json"
    assert calibration.test_cfg["max_per_img"] == 300
    config = detector_config(folder)
    config.model.test_cfg.intervals = str(path)
    model = MODELS.build(config.model).eval()
    model.load_state_dict(torch.load(folder / "epoch_1.pth", weights_only=True)["state_dict"])
    shares = covered_shares(model, config)
    # ceil((K + 1) * level) / K of the images, as far as one match can be divided
    assert 0.8 <= np.mean(shares) * len(shares) / (len(shares) + 1) < 0.8 + 1.5 / len(shares)
    assert calibration.about["samples"]["all"]["images"] == len(shares)


def covered_shares(model: torch.nn.Module, config: Config) -> list[float]:
    """Of each image with matches: the share of matches whose true box lies between inner and outer box."""
    shares = []
    for batch in labelled_loader(config, "val"):
        with torch.no_grad():
            results = model.test_step(batch)
        for result in results:
            found = result.pred_instances
            assert "bbox_std" not in found
            order = found.scores.argsort(descending=True, stable=True)
            detections, (objects, crowds) = boxes_of(found[order]), ground_truth(result.to_dict())
            taken = match_image(Boxes(detections.boxes, detections.labels), objects, crowds, 0.5).object
            true = objects.boxes[taken[taken >= 0]]
            inner, outer = (found[name][order].double().numpy()[taken >= 0] for name in ("bbox_inner", "bbox_outer"))
            near = (outer[:, :2] - 1e-3 <= true[:, :2]) & (true[:, :2] <= inner[:, :2] + 1e-3)
            far = (inner[:, 2:] - 1e-3 <= true[:, 2:]) & (true[:, 2:] <= outer[:, 2:] + 1e-3)
            if len(true):
                shares.append(float((near & far).all(axis=1).mean()))
    return shares


def test_training_images_are_read_once_and_as_in_validation(folder: Path) -> None:
    """Not in random order, not resized after their boxes were loaded, not repeated, and not endlessly."""
    config = detector_config(folder)
    config.train_dataloader.dataset.pipeline = ConfigDict(
        p=[
            dict(type="LoadImageFromFile"),
            dict(type="LoadAnnotations", with_bbox=True),
            dict(type="Resize", scale=(64, 64), keep_ratio=True),
            dict(type="RandomFlip", prob=0.5),
            dict(type="PackDetInputs"),
        ]
    ).p
    config.train_dataloader.sampler = dict(type="InfiniteSampler", shuffle=True)
    config.train_dataloader.dataset = ConfigDict(type="RepeatDataset", times=3, dataset=config.train_dataloader.dataset)
    written = json.loads((folder / "large" / "train.json").read_text())["annotations"]
    samples = [sample for batch in labelled_loader(config, "train") for sample in batch["data_samples"]]
    assert [sample.img_id for sample in samples] == list(range(16))
    for sample in samples:
        objects, _ = ground_truth(sample.to_dict())
        boxes = np.array([one["bbox"] for one in written if one["image_id"] == sample.img_id])
        np.testing.assert_allclose(objects.boxes, np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1))


META = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")


def pipeline_of(*steps: dict) -> list[dict]:
    return [dict(type="LoadImageFromFile"), *steps, dict(type="PackDetInputs", meta_keys=META)]


RESIZE, LOAD = dict(type="Resize", scale=(64, 64), keep_ratio=True), dict(type="LoadAnnotations", with_bbox=True)
OWN_HEAD = {"model.bbox_head.type": "mmdet.GFLHead"}


@pytest.mark.parametrize(
    ("words", "changes", "message"),
    [
        ([], {"val_dataloader.dataset.data_root": "TINY"}, "no detection matches an object at an IoU of 0.5 or more"),
        (["--level", 0.97], {}, "a level of 0.97 needs at least 33 images with matches, but there are"),
        (["--level", 1], {}, "level is 1.0; it must be a number between 0 and 1, such as 0.9"),
        (["--enough", 0], {}, "the number of matches that are enough for a group is 0; it must be >= 1"),
        (["--verify", "val"], {}, "--verify is val, the images of the calibration itself"),
        (
            ["--verify", "test"],
            {"test_dataloader.dataset.ann_file": "val.json", "test_dataloader.dataset.data_prefix.img": "val/"},
            "test_dataloader has 14 of the images of val_dataloader, from which the margins are computed",
        ),
        ([], {"val_dataloader.dataset.metainfo.classes": tuple("abcdefghij")}, "the data have the classes a, b, c, d,"),
        ([], {"val_dataloader.dataset.metainfo.classes": tuple("012")}, "the data have the classes 0, 1, 2; the check"),
        (
            ["--verify", "test"],
            {"test_dataloader.dataset.metainfo.classes": tuple("9876543210")},
            "the data have the classes 9, 8, 7",
        ),
        ([], OWN_HEAD, "bbox_head is a GFLHead of mmdet, which has no distributions of box sides"),
        ([], OWN_HEAD, "gfl-plugin swap CONFIG -o NEW.py writes a config with it"),
        ([], DIRAC, "margins in units of bbox_std need standard deviations, which boxes of a DiracBBoxCoder do not"),
        ([], {"val_dataloader": None}, "the config has no val_dataloader"),
        (["--verify", "test"], {"test_dataloader": None}, "the config has no test_dataloader"),
        ([], {"val_dataloader.dataset.pipeline": pipeline_of(RESIZE)}, "no ground truth found in image"),
        (
            [],
            {"val_dataloader.dataset.pipeline": pipeline_of(LOAD, RESIZE)},
            "the pipeline of val_dataloader has Resize after LoadAnnotations. The true boxes are then not in pixels",
        ),
    ],
    ids=[
        "no match", "few images", "level", "enough", "same split", "same images", "classes", "number of classes",
        "classes of test", "own head", "advice", "dirac", "no val", "no test", "no labels", "resized boxes",
    ],
)  # fmt: skip
def test_mistakes_are_errors_of_one_line_and_write_nothing(
    words: list, changes: dict, message: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    changes = {name: f"{folder}/tiny/" if value == "TINY" else value for name, value in changes.items()}
    config = detector_config(folder, **changes)
    path = tmp_path / "calibration.json"
    checkpoint = "dirac.pth" if changes == DIRAC else "epoch_1.pth"
    assert calibrate(folder, *words, "-o", path, config=config, checkpoint=checkpoint) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("gfl-plugin calibrate: ") and message in line
    assert not path.exists()


def test_files_are_checked_before_anything_is_loaded(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    existing = tmp_path / "calibration.json"
    existing.write_text("kept")
    for path, checkpoint, message in (
        (existing, "epoch_1.pth", f"{existing} exists and is never overwritten; move it, or name another file"),
        (tmp_path / "no" / "a.json", "epoch_1.pth", f"folder not found: {tmp_path / 'no'}; create it first"),
        (tmp_path / "a.json", "none.pth", f"checkpoint not found: {folder / 'none.pth'}"),
        (tmp_path / "a.json", "config.py", "not a PyTorch checkpoint"),
    ):
        assert calibrate(folder, "-o", path, checkpoint=checkpoint) == 2
        *_, line = capsys.readouterr().err.splitlines()
        assert line.startswith("gfl-plugin calibrate: ") and message in line
    assert existing.read_text() == "kept" and [one.name for one in tmp_path.iterdir()] == ["calibration.json"]


def test_other_units_and_groups_reach_the_file(folder: Path, tmp_path: Path) -> None:
    """A Dirac head has no deviations; its margins are parts of the size of the box."""
    config, path = detector_config(folder, **DIRAC), tmp_path / "calibration.json"
    words = ("--unit", "size", "--statement", "side", "--by", "size", "--level", 0.5, "--enough", 2, "--per", "match")
    assert calibrate(folder, *words, "-o", path, config=config, checkpoint="dirac.pth") == 0
    calibration = read_calibration(path)
    assert (calibration.unit, calibration.statement, calibration.group_by) == ("size", "side", "size")
    assert "medium" in calibration.quantiles and calibration.about["exchangeable"] == "match"
    assert len({*calibration.quantiles["all"]}) > 1


def test_concatenated_datasets_are_calibrated_together(folder: Path, tmp_path: Path) -> None:
    config, path = detector_config(folder), tmp_path / "calibration.json"
    parts = [config.val_dataloader.dataset, config.test_dataloader.dataset]
    config.val_dataloader.dataset = ConfigDict(type="ConcatDataset", datasets=parts)
    assert calibrate(folder, "--level", 0.5, "-o", path, config=config) == 0
    about = read_calibration(path).about
    assert about["data"] == "val: val.json, train.json" and about["samples"]["all"]["images"] > 14
