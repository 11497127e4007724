"""Preprocessing inside a file: MMDetection's sizes and scales, cv2's pixels, and the data preprocessor's values."""

from __future__ import annotations

from dataclasses import replace

import cv2
import mmcv
import numpy as np
import pytest
import torch
from export.preprocessed import UNCHANGED, preprocessed
from export.tiny_detectors import RESIZED, config_of, detector_of
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.registry import TRANSFORMS

from gfl_plugin.export.model_description import NO_PREPROCESSING, NORMALIZE, RESIZE, InputDescription
from gfl_plugin.export.preprocessing import input_of, unsupported_transforms


def some_images(count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


@settings(max_examples=60)
@given(
    height=st.integers(1, 400),
    width=st.integers(1, 400),
    size=st.sampled_from([(96, 64), (100, 33), (40, 40), (448, 252)]),
    keep_ratio=st.booleans(),
)
def test_sizes_and_scales_are_those_of_mmdetections_resize(
    height: int, width: int, size: tuple[int, int], keep_ratio: bool
) -> None:
    own = replace(UNCHANGED, preprocessing=RESIZE, size=size, keep_ratio=keep_ratio)
    if keep_ratio and min(mmcv.rescale_size((width, height), size)) < 1:
        return  # MMDetection makes no image of such a strip
    transform = TRANSFORMS.build(dict(type="mmdet.Resize", scale=size, keep_ratio=keep_ratio))
    expected = transform(dict(img=np.zeros((height, width, 3), np.uint8)))
    pixels, sizes, scale = preprocessed(own, np.zeros((2, height, width, 3), np.uint8))
    assert sizes.tolist() == [list(expected["img_shape"])] * 2
    assert pixels.shape == (2, 3, *expected["img_shape"])
    np.testing.assert_array_equal(scale, np.float32([1 / side for side in expected["scale_factor"]] * 2))


@pytest.mark.parametrize("shape", [(50, 70), (64, 96), (200, 300), (111, 97)], ids=str)
@pytest.mark.parametrize("keep_ratio", [True, False])
def test_resized_pixels_are_those_of_cv2_up_to_rounding(shape: tuple[int, int], keep_ratio: bool) -> None:
    images = some_images(2, *shape)
    own = replace(UNCHANGED, preprocessing=RESIZE, size=(96, 64), keep_ratio=keep_ratio)
    pixels, sizes, _ = preprocessed(own, images)
    assert (pixels == pixels.round()).all()
    for mine, image in zip(pixels, images, strict=True):
        by_cv2 = cv2.resize(image, tuple(map(int, sizes[0, ::-1])), interpolation=cv2.INTER_LINEAR)
        difference = np.abs(mine.transpose(1, 2, 0) - by_cv2)
        # cv2 rounds its weights to 1/2048 and cuts off intermediate sums, so that some pixels are one level off.
        assert difference.max() <= 1 and difference.mean() < 0.2


@pytest.mark.parametrize(
    "changes",
    [
        {},
        dict(bgr_to_rgb=False, mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0]),
        dict(mean=None, std=None, pad_size_divisor=1),
        dict(pad_value=7, pad_size_divisor=16),
    ],
    ids=["usual", "bgr", "plain", "pad_value"],
)
def test_normalized_pixels_are_those_of_the_data_preprocessor(changes: dict) -> None:
    cfg = config_of("joint")
    cfg.model.data_preprocessor.update(changes)
    model, images = detector_of(cfg), some_images(2, 50, 70)
    own = input_of(model, cfg, NORMALIZE)
    pixels, sizes, scale = preprocessed(own, images)
    batch = [torch.from_numpy(image[:, :, ::-1].copy()).permute(2, 0, 1) for image in images]  # read as BGR
    expected = model.data_preprocessor(dict(inputs=batch, data_samples=None))["inputs"]
    np.testing.assert_allclose(pixels, expected.numpy(), atol=1e-6)
    assert sizes.tolist() == [[50, 70]] * 2 and scale.tolist() == [1, 1, 1, 1]


def pipeline(*transforms: dict) -> list[dict]:
    return [RESIZED[0], *transforms, *RESIZED[2:]]


def described(preprocessing: str, *transforms: dict) -> InputDescription:
    cfg = config_of("joint", pipeline=pipeline(*transforms))
    return input_of(detector_of(cfg), cfg, preprocessing)


def test_the_size_is_read_from_the_test_pipeline() -> None:
    assert described(RESIZE, dict(type="Resize", scale=(1333, 800), keep_ratio=True)).size == (1333, 800)
    square = described(RESIZE, dict(type="mmdet.Resize", scale=320))
    assert square.size == (320, 320) and not square.keep_ratio
    assert described(RESIZE, dict(type="Resize", scale_factor=1.0, keep_ratio=True)).size is None
    assert described(RESIZE).size is None
    cfg = config_of("joint", pipeline=pipeline(dict(type="Pad", pad_to_square=True)))
    cfg.val_dataloader = dict(dataset=dict(type="RepeatDataset", dataset=cfg.test_dataloader.dataset))
    cfg.pop("test_dataloader")
    assert unsupported_transforms(cfg) == ["Pad"]


@pytest.mark.parametrize(
    ("transforms", "message"),
    [
        ([dict(type="Pad", pad_to_square=True)], "--preprocess resize: the test pipeline has Pad, which a file cannot"),
        ([dict(type="Resize", scale_factor=0.5)], r"has Resize\(scale_factor=0.5\); a file can do one Resize"),
        ([dict(type="Resize", scale=(9, 9), interpolation="area")], "has Resize.*area.*with bilinear interpolation"),
        ([dict(type="Resize", scale=9), dict(type="Resize", scale=8)], r"has Resize\(scale=9\), Resize\(scale=8\); a"),
    ],
    ids=["pad", "factor", "area", "two"],
)
def test_a_pipeline_that_a_file_cannot_do_is_an_error_only_for_resize(transforms: list[dict], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        described(RESIZE, *transforms)
    assert described(NO_PREPROCESSING, *transforms).pad_divisor == 32
