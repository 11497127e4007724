"""Broken and hostile annotation files give findings or one error line, and names are escaped in the terminal."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmengine.config import ConfigDict

import gfl_plugin  # noqa: F401  # isort: skip
from gfl_plugin import cli
from gfl_plugin.analysis.data_check.annotation_findings import annotation_findings
from gfl_plugin.analysis.data_check.file_findings import file_findings
from gfl_plugin.analysis.data_check.findings import Finding
from gfl_plugin.analysis.data_check.readers import read_annotations

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "check_data.py"
CONFIG = ROOT / "configs" / "demo" / "gfl_r18_demo.py"
SIDE = 32  # pixels
BROKEN = "annotation entries with missing or wrong values"
FLAT = "boxes of zero or negative size"
UNREADABLE = "images that cannot be decoded"
DEEP = "[" * 100_000 + "]" * 100_000


def content() -> dict[str, Any]:
    """Two images with one object each; the second box has no width, so there is always one finding."""
    images = [dict(id=n, file_name=f"{n}.png", width=SIDE, height=SIDE) for n in (0, 1)]
    box = dict(category_id=0, iscrowd=0, area=64.0)
    objects = [dict(id=0, image_id=0, bbox=[4, 4, 8, 8], **box), dict(id=1, image_id=1, bbox=[4, 4, 0, 8], **box)]
    return dict(images=images, annotations=objects, categories=[dict(id=n, name=str(n)) for n in range(10)])


def coco_folder(folder: Path, text: str | bytes) -> Path:
    """A data set in the demo's layout with a given text as both annotation files."""
    for split in ("train", "val"):
        (folder / split).mkdir(parents=True)
        (folder / f"{split}.json").write_bytes(text if isinstance(text, bytes) else text.encode())
        for number in (0, 1):
            PIL.Image.new("RGB", (SIDE, SIDE)).save(folder / split / f"{number}.png")
    return folder


def coco(folder: Path) -> ConfigDict:
    prefix = dict(img="train/")
    return ConfigDict(type="CocoDataset", data_root=str(folder), ann_file="train.json", data_prefix=prefix)


def kinds(dataset: ConfigDict, kind: str = "coco", decode: bool = False) -> dict[str, Finding]:
    known = read_annotations(dataset, kind)
    found = annotation_findings(known, [str(number) for number in range(10)])
    found += file_findings(known.images, decode, lambda done, total: None)
    return {one.kind: one for one in found}


# ---------------------------------------------------------------------------------------------------
# COCO
# ---------------------------------------------------------------------------------------------------

WRONG_IDENTIFIERS = [[1], {"a": 1}, None, 1.5, float("nan"), True]
WRONG_SIDES = [None, "wide", -5, 0, 10**12, float("nan"), float("inf"), True, [32]]


@pytest.mark.parametrize(
    ("section", "key", "values"),
    [
        ("images", "id", WRONG_IDENTIFIERS),
        ("images", "width", WRONG_SIDES),
        ("images", "height", WRONG_SIDES),
        ("images", "file_name", [None, 5, ["0.png"], "", "0\0.png"]),
        ("annotations", "id", WRONG_IDENTIFIERS),
        ("annotations", "image_id", WRONG_IDENTIFIERS),
        ("annotations", "category_id", WRONG_IDENTIFIERS),
        ("annotations", "bbox", [None, 5, "4 4 8 8", {}, [], [4, 4, 8], [4, 4, 8, 8, 1], [[4, 4, 8, 8]]]),
        ("annotations", "area", [None, "64", [64]]),
        ("categories", "id", WRONG_IDENTIFIERS),
        ("categories", "name", [None, 7, ["0"]]),
    ],
)
def test_wrong_and_missing_values_are_found_beside_other_findings(tmp_path: Path, section: str, key: str, values: list):
    folder = coco_folder(tmp_path / "data", "")
    for value in ["missing", *values]:
        spoiled = content()
        # A copy of the entry has the wrong value, so the other entries remain valid.
        entry = dict(copy.deepcopy(spoiled[section][0]), **({"id": 99} if key != "id" else {}))
        entry.pop(key) if value == "missing" else entry.update({key: value})
        spoiled[section].append(entry)
        (folder / "train.json").write_text(json.dumps(spoiled))
        found = kinds(coco(folder))
        (example,) = found[BROKEN].examples
        assert found[BROKEN].serious
        assert example.startswith(f"{section}[{len(spoiled[section]) - 1}]: "), value
        assert f"{key} is " in example, value
        assert found[FLAT].count == 1, value


def test_numbers_beyond_floats_and_nested_boxes(tmp_path: Path) -> None:
    folder = coco_folder(tmp_path / "data", "")
    for box in ([4, 4, 10**400, 8], [[4], [4], [8], [8]], [True, 4, 8, 8], ["4", 4, 8, 8], [float("inf"), 4, 8, 8]):
        spoiled = content()
        spoiled["annotations"][0]["bbox"] = box
        (folder / "train.json").write_text(json.dumps(spoiled))
        found = kinds(coco(folder))
        assert found["boxes that are not numbers"].count == found[FLAT].count == 1, box


def places(tree: Any, path: tuple = ()) -> Iterator[tuple]:
    """The path of each value inside of nested dicts and lists."""
    for key in tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ():
        yield (*path, key)
        yield from places(tree[key], (*path, key))


def test_any_value_in_any_place(tmp_path: Path) -> None:
    """Reading does not fail for a value of any JSON type at any place."""
    folder = coco_folder(tmp_path / "data", "")
    long = "x" * 5000
    values = [None, True, 1.5, -1, 10**400, float("nan"), "", "\ud800\x1b[2J", long, [], {}, [1, None, "x"], {"id": {}}]
    for place in places(content()):
        for value in values:
            spoiled = content()
            inner = spoiled
            for key in place[:-1]:
                inner = inner[key]
            inner[place[-1]] = value
            (folder / "train.json").write_text(json.dumps(spoiled))
            assert kinds(coco(folder), decode=True), (place, value)


@pytest.mark.parametrize("section", ["images", "annotations", "categories"])
@pytest.mark.parametrize("value", [None, {}, 5, "text"])
def test_sections_that_are_not_lists(tmp_path: Path, section: str, value: object) -> None:
    found = kinds(coco(coco_folder(tmp_path / "data", json.dumps({**content(), section: value}))))
    assert found[BROKEN].examples[0].startswith(f"{section} is {value!r}; it must be a list")
    assert (FLAT in found) == (section == "categories")  # this finding needs images and annotations


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "JSONDecodeError"),
        (DEEP, "nested too deeply"),
        ('{"images": ' + DEEP + "}", "nested too deeply"),
        (b'{"images": "\xff"}', "UnicodeDecodeError"),
        ("null", "not a JSON object"),
        ("[1, 2]", "not a JSON object"),
        ('"images categories"', "not a JSON object"),
        ("{}", "no images and no categories"),
        ('{"images": [' + "9" * 5000 + "]}", "ValueError"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_files_that_are_not_coco(tmp_path: Path, text: str | bytes, message: str) -> None:
    folder = coco_folder(tmp_path / "data", text)
    with pytest.raises(ValueError, match=message) as error:
        kinds(coco(folder))
    assert str(error.value).startswith(f"{folder / 'train.json'} is not a COCO file: ")


@pytest.mark.parametrize("ann_file", ["missing", None, "", 5])
def test_ann_file_that_a_config_does_not_name(tmp_path: Path, ann_file: object) -> None:
    dataset = coco(tmp_path)
    dataset.pop("ann_file") if ann_file == "missing" else dataset.update(ann_file=ann_file)
    with pytest.raises(ValueError, match="ann_file of the CocoDataset in .* must be the path of the annotation file"):
        kinds(dataset)


def test_a_file_without_images_is_a_mistake(tmp_path: Path) -> None:
    found = kinds(coco(coco_folder(tmp_path / "data", json.dumps({**content(), "images": [], "annotations": []}))))
    assert found["annotation files without images"].serious


# ---------------------------------------------------------------------------------------------------
# Images
# ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pixels", [SIDE * SIDE - 1, SIDE * SIDE // 2 - 1], ids=["warned of", "refused"])
def test_decompression_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pixels: int) -> None:
    """Pillow warns above a number of pixels, and raises above twice the number."""
    folder = coco_folder(tmp_path / "data", json.dumps(content()))
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", pixels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = kinds(coco(folder), decode=True)
    refused = list(found[UNREADABLE].examples) if UNREADABLE in found else []
    assert len(refused) == (2 if pixels < SIDE * SIDE / 2 else 0)
    assert all("DecompressionBombError" in example for example in refused)
    assert FLAT in found


@pytest.mark.parametrize("error", [RuntimeError(), IndexError("two\nlines"), MemoryError(), OSError()], ids=repr)
def test_decoders_may_raise_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def load(picture: PIL.Image.Image) -> None:
        raise error

    monkeypatch.setattr(PIL.PngImagePlugin.PngImageFile, "load", load)
    found = kinds(coco(coco_folder(tmp_path / "data", json.dumps(content()))), decode=True)
    assert found[UNREADABLE].count == 2
    assert type(error).__name__ in found[UNREADABLE].examples[0]
    assert "\n" not in found[UNREADABLE].examples[0]


# ---------------------------------------------------------------------------------------------------
# Pascal VOC
# ---------------------------------------------------------------------------------------------------

SOUND_SIZE = "<size><width>32</width><height>32</height></size>"
FLAT_OBJECT = "<object><name>0</name><bndbox><xmin>4</xmin><ymin>4</ymin><xmax>4</xmax><ymax>9</ymax></bndbox></object>"
BOMB = (
    '<!DOCTYPE x [<!ENTITY e0 "lolololololololol">'
    + "".join(f'<!ENTITY e{level} "{f"&e{level - 1};" * 10}">' for level in range(1, 12))
    + "]><annotation><object><name>&e11;</name></object></annotation>"
)


def voc_folder(folder: Path, names: str | bytes, xml: str | bytes | None) -> ConfigDict:
    """A data set with given image names, including "sound", and a given annotation of the image "spoiled"."""
    for part in ("Annotations", "JPEGImages", "ImageSets"):
        (folder / part).mkdir(parents=True)
    (folder / "ImageSets" / "train.txt").write_bytes(names if isinstance(names, bytes) else names.encode())
    sound = f"<annotation>{SOUND_SIZE}{FLAT_OBJECT}</annotation>"
    (folder / "Annotations" / "sound.xml").write_text(sound)
    (folder / "secret.xml").write_text(sound.replace("<name>0", "<name>secret"))
    if xml is not None:
        (folder / "Annotations" / "spoiled.xml").write_bytes(xml if isinstance(xml, bytes) else xml.encode())
    return ConfigDict(type="XMLDataset", data_root=str(folder), ann_file="ImageSets/train.txt")


@pytest.mark.parametrize(
    ("xml", "reason"),
    [
        (None, "file not found"),
        ("", "no element found"),
        (b"\xff\xfe\x00", "cannot be read"),
        ("<annotation><size>", "no element found"),
        ('<?xml version="1.0" encoding="none-such"?><annotation/>', "unknown encoding"),
        (BOMB, "amplification"),
        ('<!DOCTYPE x [<!ENTITY e SYSTEM "SECRET">]><annotation>&e;</annotation>', "undefined entity"),
        ("<annotation><size><width>wide</width><height>32</height></size></annotation>", "width is 'wide'"),
        ("<annotation><size><width>1.5</width><height>32</height></size></annotation>", "width is '1.5'"),
        ("<annotation><size><width>-3</width><height>32</height></size></annotation>", "width is -3"),
        (f"<annotation><size><width>{'9' * 5000}</width></size></annotation>", "width is '999"),
        ("<annotation><size><width/><height>1</height></size></annotation>", "width is None"),
        ("<annotation><size><width>32</width></size></annotation>", "height is missing"),
        (f"<annotation>{SOUND_SIZE}<object/></annotation>", "object 0 has no name"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_broken_xml_is_found_beside_other_findings(tmp_path: Path, xml: str | bytes | None, reason: str) -> None:
    if isinstance(xml, str):
        xml = xml.replace("SECRET", (tmp_path / "secret.xml").as_uri())
    found = kinds(voc_folder(tmp_path, "spoiled\nsound\n", xml), "voc")
    (example,) = found[BROKEN].examples
    assert example.startswith("spoiled: ")
    assert reason in example
    assert found[FLAT].count == 1
    assert not any("secret" in example for one in found.values() for example in one.examples if one.kind != BROKEN)


@pytest.mark.parametrize(
    ("xml", "broken"),
    [
        ("<annotation></annotation>", False),  # MMDetection uses the size of the image file
        (f"<annotation>{SOUND_SIZE}{'<part>' * 100_000}{'</part>' * 100_000}</annotation>", False),
        (f"<annotation>{SOUND_SIZE}<object><name>&#x1b;[2J</name></object></annotation>", True),  # not allowed in XML
        (f"<annotation>{SOUND_SIZE}<object><name>&#x202e;[/]</name></object></annotation>", False),
    ],
    ids=["no size", "deep", "escape", "direction"],
)
def test_xml_that_may_be_read(tmp_path: Path, xml: str, broken: bool) -> None:
    found = kinds(voc_folder(tmp_path, "spoiled\nsound\n", xml), "voc")
    assert (BROKEN in found) == broken
    assert found[FLAT].count == 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../secret", "outside the folder of the annotations"),
        ("../Annotations/../secret", "outside the folder of the annotations"),
        ("ABSOLUTE", "outside the folder of the annotations"),
        ("nu\0l", "file not found"),
        ("x" * 5000, "file not found"),
        ("\x1b[31m", "file not found"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_names_in_an_image_set_cannot_leave_its_folder(tmp_path: Path, name: str, reason: str) -> None:
    name = name.replace("ABSOLUTE", str(tmp_path / "secret"))
    found = kinds(voc_folder(tmp_path, f"{name}\nsound\n", None), "voc", decode=True)
    (example,) = found[BROKEN].examples
    assert example.startswith(f"{name}: ")
    assert reason in example
    assert found[FLAT].count == 1
    assert "classes that metainfo does not name" not in found  # the secret file's class


def test_image_sets_that_are_not_text(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"train\.txt is not a list of image names"):
        kinds(voc_folder(tmp_path, b"sound\n\xff\n", None), "voc")


# ---------------------------------------------------------------------------------------------------
# The tool
# ---------------------------------------------------------------------------------------------------


@given(st.text(st.characters(exclude_categories=())))  # including lone surrogates
def test_escaped_text_is_printable_and_other_text_unchanged(text: str) -> None:
    from gfl_plugin.runtime.terminal_text import escape_unprintable

    assert escape_unprintable(text).isprintable()
    assert not text.isprintable() or escape_unprintable(text) == text


@pytest.fixture
def main(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The command's main function; it takes arguments, and settings for the demo config's training data."""
    monkeypatch.setenv("GFL_DEMO_DATA", str(coco_folder(tmp_path / "sound", json.dumps(content()))))
    monkeypatch.setenv("COLUMNS", "400")  # so that names are not wrapped

    def run(*arguments: object, **train: object) -> int:
        config = tmp_path / "config.py"
        config.write_text(f"_base_ = {str(CONFIG)!r}\ntrain_dataloader = dict(dataset=dict(**{train!r}))\n")
        return cli.main(["check-data", *map(str, (config, *arguments))])

    return run


HOSTILE = "\x1b]0;title\x07\x9b31m\u202e\u2066\r\n[red]x[/red][/]:smile:"
SHOWN = r"\x1b]0;title\x07\x9b31m\u202e\u2066\r\n[red]x[/red][/]:smile:"


def unsafe(text: str) -> set[str]:
    """Control and format characters in a terminal's text, except line breaks."""
    return {char for char in text if unicodedata.category(char) in ("Cc", "Cf", "Cs") and char != "\n"}


def test_names_are_escaped_in_the_terminal(tmp_path: Path, main, capsys: pytest.CaptureFixture) -> None:
    spoiled = content()
    spoiled["categories"][0]["name"] = HOSTILE
    spoiled["images"][1]["file_name"] = HOSTILE + "\ud800"
    folder = coco_folder(tmp_path / "\x1b[31m[" / "]", json.dumps(spoiled))  # its path contains [/]
    out = tmp_path / "found.json"
    assert main("--images", "--json", out, data_root=str(folder)) == 1
    printed = capsys.readouterr()
    assert not unsafe(printed.out + printed.err)
    assert r"\x1b[31m[/]/train.json" in printed.out  # the title
    assert f"{SHOWN}\\ud800: {SHOWN} [4, 4, 4, 12] in 32×32" in printed.out
    examples = [example for part in json.loads(out.read_text()).values() for one in part for example in one["examples"]]
    assert HOSTILE in examples
    assert f"{folder}/train/{HOSTILE}\ud800" in examples


def test_notes_are_escaped_in_the_terminal(main, capsys: pytest.CaptureFixture) -> None:
    assert main(type=HOSTILE) == 1
    printed = capsys.readouterr()
    assert not unsafe(printed.out + printed.err)
    assert f"train: {SHOWN} is not supported" in printed.err


@pytest.mark.parametrize(
    ("text", "message"), [("{}", "is not a COCO file: it has no images"), (None, "annotation file not found")]
)
def test_errors_are_escaped_in_the_terminal_on_one_line(
    tmp_path: Path, main, capsys: pytest.CaptureFixture, text: str | None, message: str
) -> None:
    folder = tmp_path / "\x1b[31m\n[" / "]"
    if text is not None:
        coco_folder(folder, text)
    assert main(data_root=str(folder)) == 2
    printed = capsys.readouterr()
    (line,) = [line for line in printed.err.splitlines() if message in line]
    assert r"\x1b[31m\n[/]/train.json" in line
    assert not unsafe(printed.out + printed.err)


@pytest.mark.parametrize(
    ("section", "key", "value", "explained"),
    [
        ("images", "id", [1], BROKEN),
        ("annotations", "bbox", [4, None, 8, 8], "boxes that are not numbers"),
        ("annotations", "area", "missing", BROKEN),
        ("images", "width", 10**8, BROKEN),
        ("annotations", "id", 1, "duplicate identifiers"),
    ],
)
def test_data_that_mmdetection_cannot_load(tmp_path: Path, main, section: str, key: str, value, explained: str):
    """The failure is a finding that names the other findings which may explain it."""
    spoiled = content()
    spoiled[section][0].pop(key) if value == "missing" else spoiled[section][0].update({key: value})
    if key == "width":
        spoiled[section][0].update(height=10**8)
    out = tmp_path / "found.json"
    assert main("--json", out, data_root=str(coco_folder(tmp_path / "data", json.dumps(spoiled)))) == 1
    (train,) = [part for name, part in json.loads(out.read_text()).items() if name.startswith("train")]
    found = {one["kind"]: one for one in train}
    failure = found["datasets that MMDetection cannot load"]
    assert failure["serious"]
    assert "Error: " in failure["examples"][0]
    assert explained in failure["advice"]
    assert explained in found
    assert FLAT in found


def run_tool(data: Path, *arguments: object, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-W", "ignore", TOOL, CONFIG, *arguments]
    environment = {**os.environ, "COLUMNS": "400", "GFL_DEMO_DATA": str(data), **environment}
    return subprocess.run([str(part) for part in command], capture_output=True, timeout=300, env=environment)


def test_the_tool_fails_with_one_error_line(tmp_path: Path) -> None:
    done = run_tool(coco_folder(tmp_path / "data", DEEP))
    assert done.returncode == 2
    lines = [line for line in done.stderr.decode().splitlines() if line.strip()]
    assert "nested too deeply" in lines[-1]
    assert "Traceback" not in done.stderr.decode()


def test_the_tool_in_an_ascii_terminal(tmp_path: Path) -> None:
    spoiled = content()
    spoiled["categories"][0]["name"] = "müll\ud800"
    out = tmp_path / "found.json"
    folder = coco_folder(tmp_path / "data", json.dumps(spoiled))
    done = run_tool(folder, "--images", "--json", out, LANG="C", LC_ALL="C", PYTHONIOENCODING="ascii")
    assert done.returncode == 1, done.stderr
    assert rb"m\xfcll\ud800 [4, 4, 4, 12] in 32\xd732" in done.stdout
    assert "müll\ud800" in out.read_text().encode().decode("unicode_escape")
    assert b"Traceback" not in done.stderr
