"""Files with suspect labels, as their readers see them."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import gfl_plugin  # noqa: F401  # isort: skip  (must precede mmdet without compiled ops)
import numpy as np
import pytest
from analysis.report.simulated_examination import simulated
from pycocotools.coco import COCO

from gfl_plugin.analysis.report.examined_image import Examination
from gfl_plugin.analysis.report.report_content import SuspectLabel
from gfl_plugin.analysis.report.suspect_labels import find_suspects
from gfl_plugin.analysis.report.write_suspects import COLUMNS, FILES, image_names, write_suspects


@pytest.fixture
def examination() -> Examination:
    return replace(simulated(0, shifted=0.05)[0], classes=('cell & "co" <1>', "größe, 2"))


@pytest.fixture
def suspects(examination: Examination) -> tuple[SuspectLabel, ...]:
    return find_suspects(examination, 0.9)


def test_table_has_one_row_per_suspect_in_their_order(
    examination: Examination, suspects: tuple[SuspectLabel, ...], tmp_path: Path
) -> None:
    path = write_suspects(suspects, examination, tmp_path)[0]
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    assert tuple(rows[0]) == COLUMNS and len(rows) == len(suspects)
    names = image_names(examination)
    for row, one in zip(rows, suspects):
        objects = examination.images[one.image].objects
        assert (row["image"], row["side"]) == (names[one.image], one.side)
        assert row["class"] == examination.classes[objects.labels[one.object]]
        box = [float(row[name]) for name in ("x1", "y1", "x2", "y2")]
        np.testing.assert_allclose(box, objects.boxes[one.object], atol=0.005)
        assert box[("left", "top", "right", "bottom").index(one.side)] == float(row["labelled_px"])
        assert float(row["predicted_px"]) == pytest.approx(one.predicted, abs=0.005)
        assert float(row["beyond_px"]) == pytest.approx(one.beyond, abs=0.005)


def test_pycocotools_reads_the_images_to_correct_with_all_annotations(
    examination: Examination, suspects: tuple[SuspectLabel, ...], tmp_path: Path
) -> None:
    coco = COCO(str(write_suspects(suspects, examination, tmp_path)[1]))
    names = image_names(examination)
    wanted = {names[one.image]: examination.images[one.image] for one in suspects}
    assert {one["file_name"] for one in coco.loadImgs(coco.getImgIds())} == set(wanted)
    marked = []
    for number in coco.getImgIds():
        name = coco.loadImgs(number)[0]["file_name"]
        image = wanted[name]
        for crowd, boxes in ((False, image.objects), (True, image.ignored)):
            own = coco.loadAnns(coco.getAnnIds(imgIds=number, iscrowd=crowd))
            corners = np.array([one["bbox"] for one in own])
            corners[:, 2:] += corners[:, :2]
            np.testing.assert_allclose(corners, boxes.boxes)
            found = [coco.loadCats(one["category_id"])[0]["name"] for one in own]
            assert found == [examination.classes[label] for label in boxes.labels]
            marked += [(name, place, one["attributes"]) for place, one in enumerate(own) if "attributes" in one]
    assert {(name, place, values["wrong_side"]) for name, place, values in marked} == {
        (names[one.image], one.object, one.side) for one in suspects
    }


def test_cvat_file_has_the_structure_of_cvat_for_images(
    examination: Examination, suspects: tuple[SuspectLabel, ...], tmp_path: Path
) -> None:
    """As in https://docs.cvat.ai/docs/other/xml_format, section Annotation."""
    root = ElementTree.parse(write_suspects(suspects, examination, tmp_path)[2]).getroot()
    assert (root.tag, [child.tag for child in root][:2], root.findtext("version")) == (
        "annotations",
        ["version", "meta"],
        "1.1",
    )
    task = root.find("meta/task")
    assert task.findtext("mode") == "annotation" and int(task.findtext("size")) == len(root.findall("image"))
    labels = {label.findtext("name"): label for label in task.findall("labels/label")}
    assert tuple(labels) == examination.classes
    for label in labels.values():
        for attribute in label.findall("attributes/attribute"):
            assert [child.tag for child in attribute] == ["name", "mutable", "input_type", "default_value", "values"]
            assert attribute.findtext("mutable") == "False"
            if attribute.findtext("input_type") == "select":
                assert attribute.findtext("default_value") in attribute.findtext("values").split("\n")
    declared = {one.findtext("name"): one for one in next(iter(labels.values())).findall("attributes/attribute")}
    sides, names = set(), image_names(examination)
    for number, image in enumerate(root.findall("image")):
        assert image.get("id") == str(number)
        source = examination.images[names.index(image.get("name"))]
        assert (int(image.get("width")), int(image.get("height"))) == (source.width, source.height)
        assert len(image.findall("box")) == len(source.objects.labels) + len(source.ignored.labels)
        for place, (box, true) in enumerate(zip(image.findall("box"), source.objects.boxes)):
            corners = [float(box.get(name)) for name in ("xtl", "ytl", "xbr", "ybr")]
            np.testing.assert_allclose(corners, true, atol=0.005)
            assert box.get("label") == examination.classes[source.objects.labels[place]]
            assert (box.get("occluded"), box.get("z_order")) == ("0", "0")
            values = {one.get("name"): one.text for one in box.findall("attribute")}
            assert set(values) <= set(declared)
            assert values["wrong_side"] in declared["wrong_side"].findtext("values").split("\n")
            if values["wrong_side"] != "none":
                sides.add((image.get("name"), place, values["wrong_side"]))
    assert sides == {(names[one.image], one.object, one.side) for one in suspects}
    crowds = root.findall("image/box/attribute[@name='is_crowd']")
    assert len(crowds) == len(root.findall("image")) and {one.text for one in crowds} == {"true"}


def test_labels_for_cvat_are_those_of_its_file(examination: Examination, tmp_path: Path) -> None:
    """The label constructor wants a non-empty list of texts, of which the default of a selection is one."""
    *_, cvat, labels = write_suspects((), examination, tmp_path)
    declared = {one.findtext("name"): one for one in ElementTree.parse(cvat).getroot().iter("label")}
    found = json.loads(labels.read_text(encoding="utf-8"))
    assert tuple(one["name"] for one in found) == tuple(declared) == examination.classes
    for label in found:
        for attribute, element in zip(label["attributes"], declared[label["name"]].findall("attributes/attribute")):
            assert attribute["values"] == (element.findtext("values") or "").split("\n") != []
            for key in ("name", "input_type", "default_value"):
                assert attribute[key] == (element.findtext(key) or "")
            assert str(attribute["mutable"]) == element.findtext("mutable")


def test_files_without_suspects_are_readable(examination: Examination, tmp_path: Path) -> None:
    table, coco, cvat, _ = write_suspects((), examination, tmp_path)
    assert table.read_text() == ",".join(COLUMNS) + "\n"
    assert json.loads(coco.read_text())["images"] == COCO(str(coco)).getImgIds() == []
    assert ElementTree.parse(cvat).getroot().findall("image") == []
    assert {path.name for path in tmp_path.iterdir()} == set(FILES)


def test_images_are_named_below_their_common_folder(examination: Examination) -> None:
    assert image_names(examination)[:2] == ["folder 0/0.jpg", "folder 1/1.jpg"]
    one_folder = replace(examination, images=examination.images[::2])
    assert image_names(one_folder)[:2] == ["0.jpg", "2.jpg"]
    unnamed = tuple(replace(image, path="") for image in examination.images)
    assert image_names(replace(examination, images=unnamed))[0] == "image id 0"
