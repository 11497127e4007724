"""Files of a report: examined images that a later run reads again, JSON and CSV, and names of models."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import gfl_plugin  # noqa: F401  # isort: skip  (must precede mmdet without compiled ops)
import numpy as np
import pytest
from made_examinations import CLASSES, NOTHING, boxes, examination, image, random_images

from gfl_plugin.analysis.report.examination_shards import as_stored, read_shards, write_shard
from gfl_plugin.analysis.report.examined_image import ExaminedImage, SideBeliefs
from gfl_plugin.analysis.report.model_names import folder_names, model_names
from gfl_plugin.analysis.report.model_report import model_report
from gfl_plugin.analysis.report.report_content import CORRECT, ReportContent
from gfl_plugin.analysis.report.write_numbers import plain, write_numbers


def same(one: ExaminedImage, other: ExaminedImage) -> bool:
    """Whether all values are equal."""
    values = [
        [
            *(own.path, own.image_id, own.width, own.height, own.scores.tolist()),
            *(
                getattr(part, name).tolist()
                for part in (own.objects, own.ignored, own.detections)
                for name in vars(part)
            ),
            None if own.sides is None else [None if v is None else v.tolist() for v in vars(own.sides).values()],
        ]
        for own in (one, other)
    ]
    return values[0] == values[1]


def with_beliefs(seed: int, points: bool) -> dict[int, ExaminedImage]:
    """Images with distributions of five bins, some without detections, with texts and numbers as ids."""
    random, images = np.random.default_rng(seed), {}
    for number, one in enumerate(random_images(seed, count=40, sides=True, crowds=True)):
        count = len(one.scores)
        sides = SideBeliefs(
            one.sides.std,
            random.dirichlet(np.ones(5), (count, 4)),
            random.uniform(0, 300, (count, 4)) if points else None,
            random.uniform(-8, 8, (count, 4)) if points else None,
        )
        images[3 * number] = replace(one, sides=as_stored(sides), image_id=f"Bild_{number}ä" if number % 2 else number)
    assert any(not len(one.scores) for one in images.values())
    return images


@pytest.mark.parametrize("points", [False, True])
def test_images_are_read_as_they_were_written(tmp_path: Path, points: bool) -> None:
    images = with_beliefs(0, points)
    first, rest = dict(list(images.items())[:5]), dict(list(images.items())[5:])
    write_shard(tmp_path, rest)
    write_shard(tmp_path, first)
    read = read_shards(tmp_path)
    assert {*read} == {*images} and all(same(read[number], one) for number, one in images.items())
    assert read[0].sides.probabilities.dtype == np.float16


def test_images_of_a_head_without_beliefs_have_none(tmp_path: Path) -> None:
    images = dict(enumerate(random_images(1, count=3)))
    write_shard(tmp_path, images)
    read = read_shards(tmp_path)
    assert all(same(read[number], one) for number, one in images.items()) and read[0].sides is None


@pytest.mark.parametrize("damage", ["half", "empty", "text"])
def test_a_damaged_file_is_removed_and_the_others_are_read(tmp_path: Path, damage: str) -> None:
    images = dict(enumerate(random_images(2, count=6)))
    write_shard(tmp_path, {number: images[number] for number in (0, 1, 2)})
    write_shard(tmp_path, {number: images[number] for number in (3, 4, 5)})
    (tmp_path / ".images_0000009.npz.1.part").write_bytes(b"of a killed process")
    path = tmp_path / "images_0000000.npz"
    whole = path.read_bytes()
    path.write_bytes({"half": whole[: len(whole) // 2], "empty": b"", "text": b"no archive"}[damage])
    assert {*read_shards(tmp_path)} == {3, 4, 5}
    assert [one.name for one in tmp_path.iterdir()] == ["images_0000003.npz"]


# --- JSON and CSV ----------------------------------------------------------------------------------------------------


def content_of(*reports) -> ReportContent:
    return ReportContent("title", "2026-01-01", "gfl-plugin report", "val", reports, None)


def test_the_json_has_everything_and_null_for_nan(tmp_path: Path) -> None:
    own = examination(random_images(3, count=30, sides=True))
    report = model_report(own, 0.8)
    write_numbers(content_of(report), [own], tmp_path)

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    (read,) = json.loads((tmp_path / "report.json").read_text(), parse_constant=refuse)["models"]
    metrics = report.accuracy.metrics
    for name, value in metrics.items():
        assert read["accuracy"]["metrics"][name] == (None if np.isnan(value) else pytest.approx(value, abs=1e-6))
    assert None in read["accuracy"]["metrics"].values()
    assert read["scores"]["iou"] == pytest.approx(report.scores.iou, abs=1e-6)
    assert np.array(read["sides"]["errors"]) == pytest.approx(report.sides.errors, abs=1e-6)
    assert [one["missed"] for one in read["judged"]] == [list(one.missed) for one in report.judged]
    assert {*read} == {*vars(report)}
    assert plain([np.float32(0.5), np.inf, -0.0, True, None, np.int64(3), "ä"]) == [0.5, None, 0, True, None, 3, "ä"]


def test_the_tables_have_a_row_per_detection_object_and_error(tmp_path: Path) -> None:
    examinations = [examination(random_images(seed, count=20, sides=seed == 4), f"model {seed}") for seed in (4, 5)]
    reports = [model_report(own, 0.8) for own in examinations]
    write_numbers(content_of(*reports), examinations, tmp_path)
    tables = {}
    for name in ("detections", "objects", "errors"):
        with open(tmp_path / f"{name}.csv", newline="") as file:
            tables[name] = list(csv.DictReader(file))
    for own, report in zip(examinations, reports):
        mine = {name: [row for row in rows if row["model"] == own.name] for name, rows in tables.items()}
        assert [float(row["score"]) for row in mine["detections"]] == pytest.approx(
            np.concatenate([one.scores for one in own.images]), abs=1e-5
        )
        shown = [row for row in mine["detections"] if row["shown"] == "1"]
        judged = [(one, entry) for one in report.judged for entry in one.detections]
        assert [(row["kind"], int(row["object"])) for row in shown] == [
            (entry.kind, entry.object) for _, entry in judged
        ]
        assert {row["std_left"] != "" for row in shown} == {own.name == "model 4"}
        states = {(int(row["image"]), int(row["object"])): row for row in mine["objects"]}
        assert len(states) == sum(len(one.objects.labels) for one in own.images)
        found = {(one.image, entry.object): entry for one, entry in judged if entry.kind == CORRECT}
        missed = {(one.image, index) for one in report.judged for index in one.missed}
        for key, row in states.items():
            assert row["state"] == ("found" if key in found else "missed" if key in missed else "near")
            assert row["detection"] == (str(found[key].detection) if key in found else "")
            place, index = key
            assert row["class"] == CLASSES[own.images[place].objects.labels[index]]
        costs = report.accuracy.errors
        assert [(row["kind"], int(row["count"])) for row in mine["errors"]] == [(one.kind, one.count) for one in costs]


def test_tables_without_rows_are_empty_and_nan_is_an_empty_cell(tmp_path: Path) -> None:
    own = examination((image(NOTHING, NOTHING, []),))
    write_numbers(content_of(model_report(own, 0.9)), [own], tmp_path)
    assert (tmp_path / "detections.csv").read_text() == (tmp_path / "objects.csv").read_text() == ""
    assert "model,background,0,0,\n" in (tmp_path / "errors.csv").read_text()


def test_names_with_commas_and_line_breaks_stay_in_their_cell(tmp_path: Path) -> None:
    one = replace(image(boxes([[0, 0, 9, 9]], [0]), NOTHING, []), path='a,"b\n.jpg')
    own = examination((one,))
    write_numbers(content_of(model_report(own, 0.9)), [own], tmp_path)
    with open(tmp_path / "objects.csv", newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == ['a,"b\n.jpg']


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pairs", "names"),
    [
        ([("a/x.py", "e.pth"), ("gfl_plugin::gfl/y.py", "e.pth")], ["x", "y"]),
        ([("gfl/s0/c.py", "gfl/s0/e.pth"), ("atss/s0/c.py", "atss/s0/e.pth")], ["gfl", "atss"]),
        ([("gfl/0/c.py", "e"), ("gfl/1/c.py", "e"), ("atss/0/c.py", "e")], ["gfl/0", "gfl/1", "atss/0"]),
        ([("c.py", "epoch_1.pth"), ("c.py", "epoch_2.pth")], ["epoch_1", "epoch_2"]),
        ([("c.py", "e.pth"), ("c.py", "e.pth")], ["c (1)", "c (2)"]),
        ([("both.py", "e.pth")], ["both (1)"]),
    ],
)  # fmt: skip
def test_models_have_short_names_that_differ(pairs: list, names: list) -> None:
    assert model_names([(config, Path(checkpoint)) for config, checkpoint in pairs]) == names


def test_folders_of_models_have_safe_names_that_differ() -> None:
    assert folder_names(["gfl/s0", "c (1)", ".."]) == ["gfl_s0", "c_1", "model"]
    assert folder_names(["A b", "a/b"]) == ["1_A_b", "2_a_b"]
