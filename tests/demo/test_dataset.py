"""The embedded data set is reproducible byte for byte, and its annotations fit its images."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gfl_plugin.demo.dataset import DIGITS, DemoSize, make_dataset

SIZE = DemoSize(train=12, val=4, side=96)


def digest(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    first, second, other = (make_dataset(tmp_path / name, SIZE, seed) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    assert digest(first) == digest(second) != digest(other)


def test_the_usual_digits_are_those_of_earlier_versions(tmp_path: Path) -> None:
    """Images, annotations and the recipe are unchanged, so that results on the demo can be compared."""
    root = make_dataset(tmp_path / "data", SIZE)
    content = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        content.update(path.name.encode())
        content.update(np.asarray(Image.open(path)).tobytes() if path.suffix == ".png" else path.read_bytes())
    assert content.hexdigest() == "d150645eed3d9398e69f0984ad5581ccb0c1b040d6d6a07da26eb1a0b9e37227"


@pytest.mark.parametrize(
    ("digits", "side", "least", "most"),
    [
        ("usual", 160, 8, 72),
        ("tiny", 160, 4, 7),
        ("large", 320, 190, 311),
        ("one_class", 256, 50, 206),
        ("broad", 256, 51, 110),
    ],
)
def test_heights_of_the_digits(digits: str, side: int, least: int, most: int, tmp_path: Path) -> None:
    """Every image has digits, their heights span the range, and tiny ones are shorter than a stride of 8 pixels."""
    root = make_dataset(tmp_path / "data", DemoSize(train=40, val=2, side=side, digits=digits))
    content = json.loads((root / "train.json").read_text())
    boxes = np.array([annotation["bbox"] for annotation in content["annotations"]])
    heights = boxes[:, 3]
    assert {annotation["image_id"] for annotation in content["annotations"]} == set(range(40))
    assert least <= heights.min() and heights.max() <= most
    assert heights.max() - heights.min() > 0.6 * (most - least)
    assert boxes[:, :2].min() >= 0 and (boxes[:, :2] + boxes[:, 2:]).max() <= side


def test_other_digits_are_another_data_set(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "data", DemoSize(train=2, val=1, side=96))
    with pytest.raises(FileExistsError, match="'digits': 'tiny'.*use another folder"):
        make_dataset(root, DemoSize(train=2, val=1, side=96, digits="tiny"))
    names = "usual, tiny, large, one_class, broad"
    with pytest.raises(ValueError, match=f"DemoSize.digits is 'small'; it must be one of {names}"):
        make_dataset(tmp_path / "other", DemoSize(digits="small"))
    assert set(DIGITS) == {"usual", "tiny", "large", "one_class", "broad"} and not (tmp_path / "other").exists()


def test_boxes_lie_in_their_images_and_conditions_occur(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "data", DemoSize(train=60, val=4, side=96))
    content = json.loads((root / "train.json").read_text())
    assert len(content["images"]) == 60 and len(content["categories"]) == 10
    for image in content["images"]:
        assert Image.open(root / "train" / image["file_name"]).size == (96, 96)
    for annotation in content["annotations"]:
        x, y, width, height = annotation["bbox"]
        assert x >= 0 and y >= 0 and x + width <= 96 and y + height <= 96 and width > 2 and height > 2
    conditions = {annotation["condition"] for annotation in content["annotations"]}
    assert conditions == {"clear", "blurred", "faded", "covered"}
    assert {annotation["category_id"] for annotation in content["annotations"]} == set(range(10))
    ids = [annotation["id"] for annotation in content["annotations"]]
    assert ids == list(range(1, len(ids) + 1))  # pycocotools counts a match with the annotation 0 as none


def test_an_existing_data_set_is_kept(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "data", SIZE)
    before = digest(root)
    seen = []
    make_dataset(root, SIZE, progress=lambda done, total: seen.append(done))
    assert digest(root) == before and not seen
    with pytest.raises(FileExistsError, match="with the settings .*'seed': 0.*use another folder"):
        make_dataset(root, SIZE, seed=5)
