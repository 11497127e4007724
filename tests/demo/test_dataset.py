"""The embedded data set is reproducible byte for byte, and its annotations fit its images."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from PIL import Image

from gfl_plugin.demo.dataset import DemoSize, make_dataset

SIZE = DemoSize(train=12, val=4, side=96)


def digest(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    first, second, other = (make_dataset(tmp_path / name, SIZE, seed) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    assert digest(first) == digest(second) != digest(other)


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


def test_an_existing_data_set_is_kept(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "data", SIZE)
    before = digest(root)
    seen = []
    make_dataset(root, SIZE, progress=lambda done, total: seen.append(done))
    assert digest(root) == before and not seen
    with pytest.raises(FileExistsError, match="with the settings .*'seed': 0.*use another folder"):
        make_dataset(root, SIZE, seed=5)
