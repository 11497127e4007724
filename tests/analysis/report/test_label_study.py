"""The study of wrong labels: shifts, folds, and figures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import gfl_plugin  # noqa: F401  # isort: skip  (must precede mmdet without compiled ops)
import numpy as np
import pytest
from analysis.report.simulated_examination import Shifted, simulated
from mmdet.registry import DATASETS
from mmengine.registry import init_default_scope

from gfl_plugin.analysis.label_study.fold_data import LabelledImage, WrongLabel, read_images, write_folds, wrong_labels
from gfl_plugin.analysis.label_study.fold_runs import base_config, fold_runs
from gfl_plugin.analysis.label_study.label_figures import LabelFigures, auroc, label_figures
from gfl_plugin.analysis.label_study.shifted_sides import ShiftLaw, shift_sides
from gfl_plugin.analysis.labelled_images import labelled_loader, shared_images
from gfl_plugin.analysis.report.examined_image import Examination
from gfl_plugin.analysis.report.label_judgements import judge_labels
from gfl_plugin.runtime.config_files import config_folder

SIZE = (640, 480)


def random_boxes(count: int, random: np.random.Generator) -> np.ndarray:
    corner, size = random.uniform(0, 200, (count, 2)), random.uniform(10, 200, (count, 2))
    corner[::3] = 0  # some boxes lie at the border of the image
    return np.concatenate([corner, corner + size], axis=1)


def labelled_images(count: int) -> list[LabelledImage]:
    random = np.random.default_rng(1)
    boxes = [random_boxes(int(random.integers(1, 9)), random) for _ in range(count)]
    return [
        LabelledImage(Path(f"/data/{number}.jpg"), *SIZE, one, random.integers(0, 2, len(one)))
        for number, one in enumerate(boxes)
    ]


def test_shifts_are_of_one_side_within_their_law_and_the_image() -> None:
    boxes, law = random_boxes(2000, np.random.default_rng(0)), ShiftLaw(share=0.3)
    shifts = shift_sides(boxes, np.tile(SIZE, (len(boxes), 1)), law, np.random.default_rng(2))
    assert len({one.box for one in shifts}) == len(shifts) == 600
    outward, relative = [], []
    for one in shifts:
        box, axis = boxes[one.box], one.side % 2
        moved = box.copy()
        moved[one.side] = one.shifted
        assert one.original == box[one.side] and (moved[:2] < moved[2:]).all() and 0 <= one.shifted <= SIZE[axis]
        relative.append(abs(one.shifted - one.original) / (box[2 + axis] - box[axis]))
        outward.append((one.shifted > one.original) == (one.side >= 2))
    assert law.low <= min(relative) < 0.11 and 0.39 < max(relative) <= law.high
    assert {one.side for one in shifts} == {0, 1, 2, 3} and 0.3 < np.mean(outward) < 0.6


def test_folds_divide_the_images_and_only_the_wrong_sides_differ(tmp_path: Path) -> None:
    images = labelled_images(23)
    wrong = wrong_labels(images, ShiftLaw(), 0)
    assert len(wrong) == round(0.05 * sum(len(image.boxes) for image in images)) > 0
    held_out = []
    for one in write_folds(images, wrong, ("a", "b"), 5, 0, tmp_path):
        train, judged = (json.loads(path.read_text()) for path in (one.train, one.held_out))
        names = [{image["file_name"] for image in part["images"]} for part in (train, judged)]
        assert not names[0] & names[1] and len(names[0] | names[1]) == 23
        held_out += names[1]
        for part in (train, judged):
            compare(part, images, wrong)
    assert sorted(held_out) == sorted(image.path.name for image in images)


def compare(part: dict, images: list[LabelledImage], wrong: tuple[WrongLabel, ...]) -> None:
    """Compare the annotations of a COCO file with the original ones and the wrong labels."""
    expected = {image.path.name: image.boxes.copy() for image in images}
    for one in wrong:
        expected[one.image][one.object, one.side] = one.shifted
    for entry in part["images"]:
        own = [one for one in part["annotations"] if one["image_id"] == entry["id"]]
        boxes = np.array([one["bbox"] for one in own])
        boxes[:, 2:] += boxes[:, :2]
        np.testing.assert_allclose(boxes, expected[entry["file_name"]])


def test_the_same_seed_makes_the_same_study(tmp_path: Path) -> None:
    images = labelled_images(20)
    one, again, other = (wrong_labels(images, ShiftLaw(), seed) for seed in (0, 0, 1))
    assert one == again != other
    texts = [write_folds(images, one, ("a", "b"), 3, 0, tmp_path / name)[1].train.read_text() for name in "xy"]
    assert texts[0] == texts[1]


def as_labels(shifts: list[Shifted], examination: Examination) -> list[WrongLabel]:
    return [
        WrongLabel(
            f"{one.image}.jpg",
            one.object,
            one.side,
            one.original,
            float(examination.images[one.image].objects.boxes[one.object, one.side]),
        )
        for one in shifts
    ]


def figures(examination: Examination, shifts: list[Shifted]) -> LabelFigures:
    return label_figures(examination, judge_labels(examination, 0.9), as_labels(shifts, examination))


def test_figures_of_wrong_labels_that_stand_out() -> None:
    """With detections that are hardly wrong, every ranking is perfect, and every side is named."""
    found = figures(*simulated(0, shifted=0.1, noise=0.01))
    assert found.suspicion.auroc == found.iou.auroc == found.suspicion.precision == 1
    assert found.difference == (0, 0) and found.edges_found.named == 1
    assert found.found == found.edges_listed.count == found.wrong > 20
    assert 0 < found.edges_found.median_error < 0.1  # pixels: the noise of the detections


def test_unfound_labels_come_last_and_are_counted() -> None:
    examination, shifts = simulated(0, shifted=0.1, noise=0.01)
    without = [
        replace(one, detections=replace(one.detections, labels=1 - one.detections.labels)) for one in examination.images
    ]
    half = replace(examination, images=(*without[:20], *examination.images[20:]))
    found = figures(half, shifts)
    visible = sum(one.image >= 20 for one in shifts)
    assert (found.found, found.wrong) == (visible, len(shifts))
    assert found.suspicion.auroc < 1 and found.edges_found.count == visible


def test_another_annotation_in_the_place_of_a_wrong_one_is_an_error() -> None:
    examination, shifts = simulated(0, shifted=0.1)
    labels = as_labels(shifts, examination)
    judgements = judge_labels(examination, 0.9)
    with pytest.raises(ValueError, match="was made"):
        label_figures(examination, judgements, [replace(labels[0], shifted=labels[0].shifted + 3), *labels[1:]])
    with pytest.raises(ValueError, match="not among the examined"):
        label_figures(examination, judgements, [*labels, replace(labels[0], image="other.jpg")])


def test_auroc_is_the_share_of_pairs_in_the_right_order() -> None:
    random = np.random.default_rng(0)
    score, wrong = random.integers(0, 9, 80).astype(float), random.random(80) < 0.3
    pairs = score[wrong][:, None] - score[~wrong][None]
    assert auroc(score, wrong) == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())


def test_detectors_of_bccd_judge_the_wrong_labels_of_images_that_they_did_not_see(
    gfl_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What MMDetection reads has the order of the wrong labels, and training and held-out images differ."""
    monkeypatch.setenv("GFL_DATA", str(gfl_data))
    base = base_config(config_folder(), gfl_data)
    init_default_scope("mmdet")
    images = read_images(DATASETS.build(base.train_dataloader.dataset))
    wrong = wrong_labels(images, ShiftLaw(), 0)
    classes = tuple(base.train_dataloader.dataset.metainfo.classes)
    files = write_folds(images, wrong, classes, 2, 0, tmp_path)
    for run in fold_runs(base, files, images[0].path.parent, 0, tmp_path, config_folder(), gfl_data):
        train = DATASETS.build(run.config.train_dataloader.dataset)
        held_out = labelled_loader(run.config, "val").dataset
        assert not shared_images(train, held_out) and len(train) + len(held_out) == len(images)
        found = {(one.image, one.object): one for one in wrong}
        for image in read_images(held_out):
            original = next(one for one in images if one.path == image.path)
            expected = original.boxes.copy()
            for place in range(len(expected)):
                if (image.path.name, place) in found:
                    one = found[image.path.name, place]
                    expected[place, one.side] = one.shifted
            np.testing.assert_allclose(image.boxes, expected)
            np.testing.assert_array_equal(image.labels, original.labels)
