"""Each typical mistake in a data folder is one line that names it, and nothing is written."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

import gfl_plugin  # noqa: F401  # isort: skip

pytest.importorskip("globox")

from labelled_folders import SIZE, WRITERS, Split, truths, voc_text, write_folder, write_images, write_yolo

from gfl_plugin import cli
from gfl_plugin.projects.init_project.read_folder import read_folder

pytestmark = pytest.mark.once


def change_coco(change: Callable[[dict], object], name: str = "train") -> Callable[[Path], object]:
    """Change the content of an annotation file."""

    def changed(root: Path) -> None:
        path = root / "annotations" / f"instances_{name}.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return changed


def replace_text(name: str, old: str, new: str) -> Callable[[Path], object]:
    return lambda root: (root / name).write_text((root / name).read_text().replace(old, new))


def copied(source: str, target: str) -> Callable[[Path], object]:
    return lambda root: shutil.copy(root / source, root / target)


MISTAKES = {
    "number of classes": ("yolo", replace_text("data.yaml", "nc: 2", "nc: 3"), "nc is 3, but there are 2 names"),
    "class without a name": (
        "yolo",
        lambda root: (root / "labels" / "train" / "image_00.txt").write_text("5 0.5 0.5 0.2 0.2\n"),
        "labels with class 5, but data.yaml names 2 classes, 0 to 1",
    ),
    "pixels in YOLO": (
        "yolo",
        lambda root: (root / "labels" / "train" / "image_00.txt").write_text("0 50 40 20 30\n"),
        "image_00.txt: coordinates are larger than 1",
    ),
    "wrong path in data.yaml": (
        "yolo",
        replace_text("data.yaml", "val: images/val", "val: images/validate"),
        "data.yaml: val is 'images/validate', and no such folder of images or list exists",
    ),
    "labels without images": (
        "yolo",
        lambda root: [one.unlink() for one in (root / "images" / "train").glob("*_0[0-3].jpg")],
        "4 files of labels have no image: labels/train/image_00.txt, ",
    ),
    "no labels of a split": (
        "yolo",
        lambda root: shutil.rmtree(root / "labels" / "val"),
        "no image of val has a file of labels (.txt)",
    ),
    "missing images of COCO": (
        "coco",
        lambda root: (root / "train" / "image_03.jpg").unlink(),
        "1 of 10 annotated images of train do not exist: ",
    ),
    "missing images of VOC": (
        "voc",
        lambda root: (root / "JPEGImages" / "image_03.jpg").unlink(),
        "1 of 10 annotated images of train do not exist: ",
    ),
    "missing annotations of VOC": (
        "voc",
        lambda root: (root / "Annotations" / "image_03.xml").unlink(),
        "ImageSets/Main/train.txt names 1 images without an .xml file: image_03",
    ),
    "broken XML": (
        "voc",
        lambda root: (root / "Annotations" / "image_03.xml").write_text("<annotation>"),
        "image_03.xml: Syntax error",
    ),
    "exchanged corners": (
        "voc",
        lambda root: (root / "Annotations" / "image_03.xml").write_text(voc_text("image_03", [("cat", 50, 5, 20, 9)])),
        "image_03.xml: `xmax` must be greater than `xmin`",
    ),
    "the same name in two lists": (
        "voc",
        lambda root: (root / "ImageSets" / "Main" / "val.txt").write_text("image_00\nother_00\n"),
        "1 images are in both train and val: image_00.jpg",
    ),
    "the same image in two folders": (
        "labelme",
        lambda root: [copied(f"train/image_00.{one}", f"val/image_00.{one}")(root) for one in ("jpg", "json")],
        "1 images are in both train and val: image_00.jpg",
    ),
    "two files of an image": (
        "labelme",
        copied("train/image_00.json", "train/image_00_copy.json"),
        "images with several annotation files: train/image_00.jpg",
    ),
    "two files of labels": (
        "yolo",
        lambda root: shutil.copytree(root / "labels", root / "labels_old"),
        "images with several annotation files: images/train/image_00.jpg (labels/train/image_00.txt, labels_old/train/"
        "image_00.txt), ",
    ),
    "two images of a file of labels": (
        "yolo",
        copied("images/train/image_00.jpg", "images/train/image_00.jpeg"),
        "several images belong to labels/train/image_00.txt: images/train/image_00.jpeg, images/train/image_00.jpg; ",
    ),
    "two images of a name in a table": (
        "csv",
        lambda root: shutil.copytree(root / "train", root / "copy"),
        "several images belong to image_00.jpg in train.csv: copy/image_00.jpg, train/image_00.jpg; ",
    ),
    "no objects to validate": (
        "coco",
        change_coco(lambda content: content.update(annotations=[]), "val"),
        "no objects to validate on: none of the 4 images of val has one",
    ),
    "no validation images": (
        "coco",
        change_coco(lambda content: content.update(annotations=[], images=[]), "val"),
        "no validation images: the validation split is empty",
    ),
    "other categories": (
        "coco",
        change_coco(lambda content: content["categories"].reverse(), "val"),
        "they must have the same names in the same order",
    ),
    "category that is not listed": (
        "coco",
        change_coco(lambda content: content["annotations"][0].update(category_id=7)),
        "objects of categories that are not listed: 7",
    ),
    "images that are not listed": (
        "coco",
        change_coco(lambda content: [one.update(image_id=str(one["image_id"])) for one in content["annotations"][:3]]),
        "3 of 20 objects belong to images that are not listed, such as image_id '1'; ",
    ),
    "two files of a split": (
        "coco",
        copied("annotations/instances_train.json", "annotations/instances_train2.json"),
        "2 COCO files for train: annotations/instances_train.json, annotations/instances_train2.json",
    ),
    "several forms": ("coco", lambda root: WRITERS["csv"](root, Split("test", truths(3, 5, "t"))), "several forms of "),
    "parts of the image's size in a table": (
        "csv",
        lambda root: (root / "train.csv").write_text(
            "filename,class,xmin,ymin,xmax,ymax\nimage_00.jpg,cat,0,0.1,0.5,1"
        ),
        "train.csv: no coordinate is larger than 1; they must be pixels",
    ),
    "number that is none": (
        "csv",
        replace_text("train.csv", "image_00.jpg,96,64,cat,", "image_00.jpg,96,64,cat,x"),
        "x",
    ),
}


@pytest.mark.parametrize(("form", "spoil", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_a_line(form: str, spoil: Callable, message: str, tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", form)
    read_folder(root, None, 0, lambda done, total: None)  # without the mistake
    spoil(root)
    with pytest.raises((ValueError, OSError)) as caught:
        read_folder(root, None, 0, lambda done, total: None)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "gfl-plugin init: folder not found: "),
        (["empty"], "gfl-plugin init: "),
        (["pictures"], "gfl-plugin init: no annotations of a known form in "),
        (["voc", "--form", "csv"], "gfl-plugin init: no annotations in the form CSV ("),
        (["voc", "-o", "taken.py"], "gfl-plugin init: taken.py exists; remove it, or name another file with -o"),
        (["voc", "-o", "config.txt"], "gfl-plugin init: -o config.txt must end with .py"),
        (["yolo", "-o", "data.py"], "gfl-plugin init: "),
        (["."], "gfl-plugin init: "),
        (["voc", "--image-size", "8"], "gfl-plugin init: --image-size is 8; it must be at least 32"),
    ],
    ids=lambda one: "-".join(one) if isinstance(one, list) else "",
)
def test_the_command_ends_with_status_2_and_writes_nothing(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    for form in ("voc", "yolo"):
        write_folder(tmp_path / form, form)
    write_images(tmp_path / "pictures", truths(2))
    (tmp_path / "empty").mkdir()
    (tmp_path / "data_data").mkdir()
    (tmp_path / "taken.py").write_text("")
    before = sorted(tmp_path.rglob("*"))
    assert cli.main(["init", *words]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("gfl-plugin init: ")]
    assert len(lines) == 1 and lines[0].startswith(message)
    assert sorted(tmp_path.rglob("*")) == before


def test_images_of_the_same_name_may_be_different(tmp_path: Path) -> None:
    """Numbered images of two folders are not the same images."""
    for split, seed in (("train", 0), ("val", 1)):
        write_yolo(tmp_path, Split(split, truths(4, seed)))
    for number, image in enumerate(sorted((tmp_path / "images" / "val").iterdir())):
        write_images(tmp_path, {f"extra_{number}": []})
        shutil.move(tmp_path / f"extra_{number}.jpg", image)
    assert len(read_folder(tmp_path, None, 0, lambda done, total: None).sets) == 2


def test_images_are_compared_by_their_content(tmp_path: Path) -> None:
    """Numbered BMP files of one camera, copied in one go, have the same names, sizes and times."""
    for split, seed in (("train", 0), ("val", 1)):
        write_yolo(tmp_path, Split(split, truths(4, seed)))
        for number, image in enumerate(sorted((tmp_path / "images" / split).iterdir())):
            same_in_both = number == 3
            Image.new("RGB", SIZE, (number, 0 if same_in_both else seed, 0)).save(image.with_suffix(".bmp"))
            os.utime(image.with_suffix(".bmp"), (1e9, 1e9))
            image.unlink()
    with pytest.raises(ValueError, match="1 images are in both train and val: image_03.bmp"):
        read_folder(tmp_path, None, 0, lambda done, total: None)


def test_one_class_is_explained(tmp_path: Path) -> None:
    boxes = {name: [("cat", *box) for _, *box in one] for name, one in truths(6).items()}
    write_folder(tmp_path / "data", "labelme", Split("train", boxes))
    notes = read_folder(tmp_path / "data", None, 0, lambda done, total: None).notes
    assert any(note.startswith("there is one class, cat: ") and '("cat",)' in note for note in notes)
