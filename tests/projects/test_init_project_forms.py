"""Each form of the same labelled images is read as the same images, objects and splits."""

from __future__ import annotations

import json
from pathlib import Path, PureWindowsPath

import pytest

import gfl_plugin  # noqa: F401  # isort: skip

pytest.importorskip("globox")

from labelled_folders import CLASSES, SIZE, WRITERS, Split, truths, write_folder, write_images, yolo_line
from PIL import Image

from gfl_plugin.projects.init_project.folder_files import FolderFiles
from gfl_plugin.projects.init_project.folder_form import folder_form
from gfl_plugin.projects.init_project.labelled_set import LabelledSet
from gfl_plugin.projects.init_project.picture_size import picture_size
from gfl_plugin.projects.init_project.read_folder import FolderData, read_folder
from gfl_plugin.projects.init_project.write_data import write_data

pytestmark = pytest.mark.once


def read(root: Path, form: str | None = None, seed: int = 0) -> FolderData:
    return read_folder(root, form, seed, lambda done, total: None)


def objects(found: LabelledSet) -> dict[str, list[tuple]]:
    """Class and rounded corners of the objects, by the stem of the image."""
    names = {one["id"]: one["name"] for one in found.categories}
    stems = {one["id"]: Path(one["file_name"]).stem for one in found.images}
    result: dict[str, list[tuple]] = {stem: [] for stem in stems.values()}
    for one in found.annotations:
        x, y, width, height = one["bbox"]
        corners = [round(value, 3) for value in (x, y, x + width, y + height)]
        result[stems[one["image_id"]]].append((names[one["category_id"]], *corners))
    return {stem: sorted(boxes) for stem, boxes in result.items()}


def expected(boxes: dict[str, list[tuple]]) -> dict[str, list[tuple]]:
    return {stem: sorted(one) for stem, one in boxes.items()}


@pytest.mark.parametrize("form", WRITERS)
def test_each_form_is_recognized_and_has_the_same_objects(form: str, tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", form)
    found = read(root)
    train, val = found.sets
    assert (found.form, train.split, val.split) == (form, "train", "val")
    assert train.classes == val.classes == CLASSES
    assert objects(train) == expected(truths(10))
    assert objects(val) == expected(truths(4, seed=1, prefix="other"))
    assert all(one.path(image).is_file() for one in found.sets for image in one.images)
    assert {(image["width"], image["height"]) for image in train.images} == {SIZE}


@pytest.mark.parametrize("form", WRITERS)
def test_a_missing_validation_split_is_chosen_by_the_seed(form: str, tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", form, Split("train", truths(10)))
    splits = {seed: [set(objects(one)) for one in read(root, seed=seed).sets] for seed in (0, 0, 1)}
    for train, val in splits.values():
        assert train | val == set(truths(10)) and not train & val and len(val) == 2
    assert [set(objects(one)) for one in read(root, seed=0).sets] == splits[0] != splits[1]


@pytest.mark.parametrize("form", WRITERS)
def test_written_files_contain_what_was_read(form: str, tmp_path: Path) -> None:
    """COCO and VOC stay where they are if they are split; nothing is written into the data."""
    root = write_folder(tmp_path / "data", form)
    before = sorted(root.rglob("*"))
    found, folder = read(root), tmp_path / "written"
    sets = write_data(found.sets, folder)
    assert folder.exists() == (form not in ("coco", "voc"))
    assert sorted(root.rglob("*")) == before
    if folder.exists():
        for one in sets:
            content = json.loads(one.place.ann_file.read_text())
            assert content["annotations"] == [*one.annotations]
            assert min(entry["id"] for entry in content["annotations"]) == 1  # 0 is "no object" in pycocotools


def test_coco128_has_one_split_that_is_also_named_for_validation(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "coco128", "yolo", Split("train2017", truths(20)))
    names = "\n".join(f"  {number}: thing {number}" for number in range(80))
    text = f"path: ../datasets/coco128\ntrain: images/train2017\nval: images/train2017\ntest:\nnames:\n{names}\n"
    (root / "data.yaml").write_text(text)
    found = read(root)
    assert [(one.split, len(one.images), len(one.classes)) for one in found.sets] == [("train", 16, 80), ("val", 4, 80)]
    assert {"data.yaml names the images of train also for val"} < set(found.notes)
    assert any(note.startswith("78 of 80 classes have no object in train: thing 2") for note in found.notes)


@pytest.mark.parametrize(
    ("train", "val"),
    [
        ("../train/images", "../valid/images"),  # Roboflow
        ("/kaggle/working/data/train/images", "/kaggle/working/data/valid/images"),
        ("./train/images", "valid/images"),
        ("train.txt", "val.txt"),
    ],
)
def test_paths_of_another_computer_are_found(train: str, val: str, tmp_path: Path) -> None:
    splits = {"train": truths(6), "valid": truths(3, seed=1, prefix="other")}
    for name, boxes in splits.items():
        write_images(tmp_path / name / "images", boxes)
        (tmp_path / name / "labels").mkdir()
        for stem, one in boxes.items():
            (tmp_path / name / "labels" / f"{stem}.txt").write_text("".join(yolo_line(*box) for box in one))
    if train.endswith(".txt"):
        for file, name in ((train, "train"), (val, "valid")):
            (tmp_path / file).write_text("".join(f"./{name}/images/{stem}.jpg\n" for stem in splits[name]))
    (tmp_path / "data.yaml").write_text(f"train: {train}\nval: {val}\nnames: {list(CLASSES)}\n")
    found = read(tmp_path)
    assert [objects(one) for one in found.sets] == [expected(one) for one in splits.values()]


@pytest.mark.parametrize("named", ["classes.txt", None])
def test_yolo_without_data_yaml(named: str | None, tmp_path: Path) -> None:
    """Labels beside the images; classes without names are numbered."""
    write_images(tmp_path, truths(5), suffix=".png")
    for stem, boxes in truths(5).items():
        (tmp_path / f"{stem}.txt").write_text("".join(yolo_line(*box) for box in boxes))
    if named:
        (tmp_path / named).write_text("cat\ndog\n")
    found = read(tmp_path)
    assert found.sets[0].classes == (CLASSES if named else ("class_0", "class_1"))
    assert sum(len(one.annotations) for one in found.sets) == 10


def test_voc_with_other_images_is_converted(tmp_path: Path) -> None:
    """MMDetection's XMLDataset reads images that end with .jpg only."""
    root = write_folder(tmp_path / "data", "voc")
    for image in (root / "JPEGImages").iterdir():
        Image.open(image).save(image.with_suffix(".png"))
        image.unlink()
    train, _ = read(root).sets
    assert train.place.form == "coco" and objects(train) == expected(truths(10))
    assert train.images[0]["file_name"] == "JPEGImages/image_00.png"


@pytest.mark.parametrize(
    ("annotation", "named", "image", "others"),
    [
        ("labels/0.txt", None, "images/0.jpg", ["Masks/0.png", "labels/0.png"]),
        ("labels/train/0.txt", None, "images/train/0.jpg", ["Masks/train/0.png", "images/val/0.jpg", "train/0.jpg"]),
        ("a/labels/0.txt", None, "a/images/0.jpg", ["a/Masks/0.png", "b/images/0.jpg"]),
        ("0.txt", None, "0.jpg", ["Masks/0.png"]),
        ("train/0.json", "0.jpg", "train/0.jpg", ["train/0.png", "train/Masks/0.jpg", "val/0.jpg"]),
        ("json/0.json", "..\\pictures\\0.jpg", "pictures/0.jpg", ["Masks/0.jpg"]),
        ("json/0.json", "C:\\pictures\\0.jpg", "pictures/0.jpg", ["Masks/0.jpg"]),
        (
            "A/Annotations/0.xml",
            "0.jpg",
            "A/JPEGImages/0.jpg",
            ["A/Class/0.png", "B/JPEGImages/0.jpg", "A/Class/0.jpg"],
        ),
        ("annotations/xmls/0.xml", "0.jpg", "images/0.jpg", ["annotations/trimaps/0.png"]),
        ("boxes.csv", "0.jpg", "images/0.jpg", ["Masks/0.png"]),
        ("boxes.csv", "images/0.jpg", "images/0.jpg", ["Masks/0.jpg", "Masks/0.png"]),
        ("boxes.csv", "images/0", "images/0.jpg", ["Masks/0.png"]),
    ],
)
def test_masks_and_copies_are_not_taken_for_the_image(
    annotation: str, named: str | None, image: str, others: list[str]
) -> None:
    """Whatever the order of their names."""
    named = named and PureWindowsPath(named)
    files = FolderFiles(Path(), tuple(map(Path, sorted([image, annotation, *others]))))
    assert files.image_of(Path(annotation), named) == Path(image)
    turned = FolderFiles(Path(), tuple(reversed(files.files)))
    assert turned.image_of(Path(annotation), named) == Path(image)


@pytest.mark.parametrize("form", WRITERS)
def test_masks_get_no_objects(form: str, tmp_path: Path) -> None:
    """A mask of each image in a folder whose name comes first."""
    root = write_folder(tmp_path / "data", form)
    for name in [*truths(10), *truths(4, 1, "other")]:
        write_images(root / "A", {name: []}, suffix=".png")
    for one, boxes in zip(read(root).sets, (truths(10), truths(4, 1, "other"))):
        assert objects(one) == expected(boxes)
        assert not [entry for entry in one.images if entry["file_name"].startswith("A")]


def test_an_image_without_labels_is_background(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", "yolo")
    (root / "labels" / "train" / "image_00.txt").unlink()
    (root / "labels" / "train" / "image_01.txt").write_text("")
    found = read(root)
    assert objects(found.sets[0])["image_00"] == objects(found.sets[0])["image_01"] == []
    assert "1 images have no file of labels; they are used as images without objects" in found.notes
    assert "2 of 10 images of train have no objects; they are used as background" in found.notes


def test_a_form_can_be_chosen_where_there_are_several(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", "voc")
    write_folder(root, "csv")
    assert folder_form(FolderFiles.of(root), "csv") == "csv"
    with pytest.raises(
        ValueError, match=r"several forms .*: voc \(Annotations.*\), csv \(.*csv\); choose one with --form"
    ):
        folder_form(FolderFiles.of(root))


def test_the_size_of_a_turned_photograph_is_the_one_that_mmdetection_sees(tmp_path: Path) -> None:
    import cv2

    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.new("RGB", (40, 20)).save(tmp_path / "turned.jpg", exif=exif)
    assert picture_size(tmp_path / "turned.jpg") == cv2.imread(str(tmp_path / "turned.jpg")).shape[1::-1] == (20, 40)


@pytest.mark.parametrize("form", ["labelme", "yolo"])
def test_polygons_become_the_boxes_around_them(form: str, tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", form)
    points = [(10, 8), (50, 12), (40, 40)]
    if form == "labelme":
        shapes = [dict(label="dog", points=points, shape_type="polygon")]
        content = dict(imagePath="image_00.jpg", imageWidth=SIZE[0], imageHeight=SIZE[1], shapes=shapes)
        (root / "train" / "image_00.json").write_text(json.dumps(content))
    else:
        numbers = " ".join(f"{x / SIZE[0]:.8f} {y / SIZE[1]:.8f}" for x, y in points)
        (root / "labels" / "train" / "image_00.txt").write_text(f"1 {numbers}\n")
    assert objects(read(root).sets[0])["image_00"] == [("dog", 10, 8, 50, 40)]


def test_a_test_split_without_labels_is_left_out(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", "yolo")
    write_images(root / "images" / "test", truths(3, prefix="new"))
    (root / "data.yaml").write_text((root / "data.yaml").read_text() + "test: images/test\n")
    found = read(root)
    assert [one.split for one in found.sets] == ["train", "val"]
    assert any(note.startswith("left out: images of test, which has no objects, 3: ") for note in found.notes)


def test_a_link_to_a_folder_above_is_not_followed(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", "labelme")
    (root / "train" / "again").symlink_to(root)
    assert [len(one.images) for one in read(root).sets] == [10, 4]
