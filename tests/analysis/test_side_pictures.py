"""``gfl-plugin show``: one picture per image, and errors that name the image."""

from __future__ import annotations

from pathlib import Path

import gfl_plugin  # isort: skip
import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from PIL import Image

from gfl_plugin import cli
from gfl_plugin.analysis import side_pictures
from gfl_plugin.analysis.side_pictures import image_files, picture_files
from gfl_plugin.pictures.pictured_boxes import BINS, NONE, NORMAL, PicturedBoxes


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two images, and the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    for seed, name in enumerate(("one.png", "two.jpg")):
        pixels = np.random.default_rng(seed).integers(0, 255, (90, 120, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / name)
    (tmp_path / "images" / "notes.txt").write_text("no image")
    return tmp_path


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[PicturedBoxes]:
    """What is drawn; the pictures are small."""
    seen: list[PicturedBoxes] = []

    def draw(image: np.ndarray, pictured: PicturedBoxes) -> np.ndarray:
        seen.append(pictured)
        return image

    monkeypatch.setattr(side_pictures, "side_picture", draw)
    return seen


def detector(folder: Path, coder: str = "Integral", **test_cfg: object) -> list[str]:
    """Config and weights of an untrained detector."""
    base = gfl_plugin.find_config("gfl_plugin::demo/gfl_r18_demo.py")
    head = dict(bbox_coder=dict(type=f"gfl_plugin.{coder}BBoxCoder"), loss_dfl="by_coder")
    if coder != "Integral":
        head["reg_max"] = None
    text = f"_base_ = {str(base)!r}\nmodel = dict(bbox_head={head!r}, test_cfg={test_cfg!r})\n"
    (folder / "config.py").write_text(text)
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(folder / "config.py").model)
    meta = dict(dataset_meta=dict(classes=tuple("0123456789")))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), folder / "weights.pth")
    return ["config.py", "weights.pth"]


def show(*words: object) -> int:
    return cli.main(["show", *map(str, words)])


@pytest.mark.parametrize(
    ("coder", "kind", "said"),
    [
        ("Integral", BINS, ""),
        ("Gaussian", NORMAL, "sides of a GFLHead with bbox_coder GaussianBBoxCoder have no bins"),
        ("Dirac", NONE, "a GFLHead with bbox_coder DiracBBoxCoder predicts no uncertainty of box sides"),
    ],
)
def test_one_picture_per_image(
    coder: str, kind: str, said: str, folder: Path, drawn: list[PicturedBoxes], capsys: pytest.CaptureFixture
) -> None:
    """A threshold below the config's is used, and settings that the head does not need are ignored."""
    model = detector(folder, coder, score_thr=0.2, intervals="missing.json")
    assert show(*model, "images", "-o", "out/pictures", "--score-thr", 0.001, "--count", 4) == 0
    assert sorted(path.name for path in (folder / "out" / "pictures").iterdir()) == ["one.png", "two.png"]
    output = capsys.readouterr().out
    assert "wrote 2 pictures to out/pictures" in output and said in output
    for pictured in drawn:
        assert pictured.kind == kind and pictured.explained == 4 and len(pictured.boxes) > 4
        assert pictured.scores.min() >= 0.001 and set(pictured.names) <= set("0123456789")


def test_a_picture_shows_the_image(folder: Path) -> None:
    assert show(*detector(folder), "images/one.png", "-o", "out") == 0
    picture = Image.open(folder / "out" / "one.png")
    assert (
        picture.width == round(8 * 1.07 * 120) and picture.mode == "RGB"
    )  # 120 px and the margins, eight times enlarged


def test_no_detection_is_told(folder: Path, drawn: list[PicturedBoxes], capsys: pytest.CaptureFixture) -> None:
    assert show(*detector(folder), "images", "-o", "out", "--score-thr", 0.99) == 0
    output = capsys.readouterr().out
    for name in ("one.png", "two.jpg"):
        assert f"images/{name}: no detection with a score of at least 0.99" in output
    assert [len(pictured.boxes) for pictured in drawn] == [0, 0]


def test_images_that_cannot_be_read_are_named_and_skipped(
    folder: Path, drawn: list[PicturedBoxes], capsys: pytest.CaptureFixture
) -> None:
    (folder / "broken.jpg").write_bytes(b"junk")
    assert show(*detector(folder), "broken.jpg", "missing.jpg", "images/two.jpg", "-o", "out") == 1
    output = capsys.readouterr()
    assert "gfl-plugin show: broken.jpg is not an image that OpenCV can read" in output.err
    assert "gfl-plugin show: image not found: missing.jpg" in output.err
    assert "wrote 1 picture to out" in output.out
    assert [path.name for path in (folder / "out").iterdir()] == ["two.png"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["missing.jpg"], "image not found: missing.jpg"),
        (["empty"], "the folder empty has no images (.bmp, "),
        (["images", "--out", "images"], "the picture of images/one.png would replace images/one.png; name another"),
        (["images", "--score-thr", "30"], "--score-thr is 30; it must be in [0, 1]"),
        (["images", "--count", "-1"], "--count is -1; it must be 0 or more"),
    ],
)
def test_mistakes_are_found_before_the_model_is_loaded(
    words: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture
) -> None:
    (folder / "empty").mkdir()
    assert show("missing.py", "missing.pth", "-o", "out", *words) == 2
    assert message in capsys.readouterr().err
    assert not (folder / "out").exists()


def test_files_of_folders_and_names_of_pictures(folder: Path) -> None:
    (folder / "images" / "sub").mkdir()
    Image.new("RGB", (4, 4)).save(folder / "images" / "sub" / "ONE.jpg")
    found = image_files([Path("images/two.jpg"), Path("images"), Path("images/sub/ONE.jpg"), Path("missing.jpg")])
    assert [str(path) for path in found] == ["images/two.jpg", "images/one.png", "images/sub/ONE.jpg", "missing.jpg"]
    assert [path.name for path in picture_files(found, Path("out"))] == [
        "two.png",
        "one.png",
        "ONE_2.png",
        "missing.png",
    ]
