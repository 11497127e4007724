"""MMDetection's inference functions with the plugin's configs: an image, a folder, arrays, and the files they write."""

from __future__ import annotations

import json
from pathlib import Path

import gfl_plugin  # noqa: F401  # isort: skip  (must precede mmdet without compiled ops)
import cv2
import numpy as np
import pytest
from mmdet.apis import DetInferencer, inference_detector, init_detector
from mmdet.structures import DetDataSample

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "demo" / "gfl_r18_demo.py"
KEYS = {"bboxes", "scores", "labels"}


@pytest.fixture(scope="module")
def inferencer(checkpoint: Path) -> DetInferencer:
    return DetInferencer(model=str(CONFIG), weights=str(checkpoint), device="cpu", show_progress=False)


@pytest.fixture(scope="module")
def images(demo_data: Path) -> list[Path]:
    """The validation images, in the order in which the inferencer lists a folder."""
    found = sorted((demo_data / "val").iterdir())
    assert len(found) == 4
    return found


def detections(sample: DetDataSample) -> dict:
    """Detections of inference_detector in the inferencer's form."""
    return {key: sample.pred_instances[key].tolist() for key in KEYS}


def assert_same(found: dict, expected: dict) -> None:
    assert set(found) == KEYS and found["labels"] == expected["labels"] and found["labels"]
    for key in ("bboxes", "scores"):
        np.testing.assert_allclose(found[key], expected[key], rtol=1e-4, atol=1e-4)


def test_a_folder_arrays_and_a_list_give_the_detections_of_the_single_images(
    inferencer: DetInferencer, images: list[Path], tmp_path: Path
) -> None:
    """In batches of 3, of which the last is smaller. Predictions of a folder are in the order of os.listdir."""
    alone = {path: inferencer(str(path), no_save_vis=True)["predictions"] for path in images}
    assert all(len(found) == 1 for found in alone.values())
    assert len({str(found) for found in alone.values()}) == len(images)
    inputs = {
        "list": [str(path) for path in images],
        "arrays": [cv2.imread(str(path)) for path in images],
    }
    for given in inputs.values():
        found = inferencer(given, batch_size=3, no_save_vis=True)["predictions"]
        for path, one in zip(images, found, strict=True):
            assert_same(one, alone[path][0])
    inferencer(str(images[0].parent), batch_size=3, no_save_pred=False, out_dir=str(tmp_path))
    for path in images:
        assert_same(json.loads((tmp_path / "preds" / f"{path.stem}.json").read_text()), alone[path][0])


def test_pictures_are_the_images_with_boxes(inferencer: DetInferencer, images: list[Path], tmp_path: Path) -> None:
    """A picture has the size of its image, and differs from it at the sides of the best box, which it draws."""
    inferencer(str(images[0].parent), out_dir=str(tmp_path), pred_score_thr=0.0)
    assert sorted(path.name for path in (tmp_path / "vis").iterdir()) == [path.name for path in images]
    for path in images:
        drawn, plain = cv2.imread(str(tmp_path / "vis" / path.name)), cv2.imread(str(path))
        assert drawn.shape == plain.shape
        assert (drawn != plain).any(axis=2).mean() > 0.01
    nothing = tmp_path / "nothing"
    inferencer(str(images[0]), out_dir=str(nothing), pred_score_thr=1.0)  # no score is above 1
    drawn = cv2.imread(str(nothing / "vis" / images[0].name))
    assert (drawn == cv2.imread(str(images[0]))).all()


def test_an_array_without_a_name_gets_a_numbered_picture(checkpoint: Path, images: list[Path], tmp_path: Path) -> None:
    inferencer = DetInferencer(model=str(CONFIG), weights=str(checkpoint), device="cpu", show_progress=False)
    inferencer([cv2.imread(str(path)) for path in images[:2]], out_dir=str(tmp_path))
    assert sorted(path.name for path in (tmp_path / "vis").iterdir()) == ["00000000.jpg", "00000001.jpg"]


def test_init_detector_and_inference_detector_detect_the_same(
    inferencer: DetInferencer, checkpoint: Path, images: list[Path]
) -> None:
    """With paths and with arrays, alone and in lists; the names of the classes are those of the checkpoint.

    After an array, a model of MMDetection 3.3.0 reads arrays only (docs/mmdetection-tools.md).
    """
    model = init_detector(str(CONFIG), str(checkpoint), device="cpu")
    assert model.dataset_meta["classes"] == tuple("0123456789")
    paths = [str(path) for path in images[:2]]
    arrays = [cv2.imread(path) for path in paths]
    expected = inferencer(paths, no_save_vis=True)["predictions"]
    for given in (paths, arrays):
        assert_same(detections(inference_detector(model, given[0])), expected[0])
        for one, other in zip(inference_detector(model, given), expected, strict=True):
            assert_same(detections(one), other)
    with pytest.raises(KeyError, match="img"):
        inference_detector(model, paths[0])


def test_the_name_of_a_config_is_a_file_of_the_package(checkpoint: Path, images: list[Path]) -> None:
    """gfl_plugin.find_config makes the path that MMDetection's functions accept."""
    config = gfl_plugin.find_config("gfl_plugin::demo/gfl_r18_demo.py")
    by_name = inference_detector(init_detector(config, str(checkpoint), device="cpu"), str(images[0]))
    by_path = inference_detector(init_detector(str(CONFIG), str(checkpoint), device="cpu"), str(images[0]))
    assert detections(by_name) == detections(by_path)
