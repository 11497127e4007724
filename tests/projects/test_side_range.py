"""The range of side distributions that a swap chooses, from the image size that pipelines give and ATSS's locations."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from cases import FIGURES, our_head
from hypothesis import assume, given
from hypothesis import strategies as st
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.config import Config
from mmengine.runner import set_random_seed
from mmengine.structures import InstanceData

import gfl_plugin
from gfl_plugin.analysis.swap_check import STOCK
from gfl_plugin.projects.image_size import largest_image_side
from gfl_plugin.projects.side_range import CANDIDATE_OFFSET, SideRange
from gfl_plugin.structures.grid import Grid
from gfl_plugin.structures.ground_truths import GroundTruths
from gfl_plugin.structures.valid_regions import ValidRegions

# ---------------------------------------------------------------------------------------------------
# Image size
# ---------------------------------------------------------------------------------------------------

# Each with the largest side of an image after it; the size of image files is at most 500 px.
PIPELINES = {
    "resize": ([dict(type="Resize", scale=(400, 300), keep_ratio=True)], 400),
    "resize to a number and by a factor": (
        [dict(type="Resize", scale=(200, 200)), dict(type="Resize", scale_factor=1.5)],
        300,
    ),
    "random resize by a ratio": ([dict(type="RandomResize", scale=(200, 300), ratio_range=(0.5, 2.0))], 600),
    "random resize between scales": ([dict(type="RandomResize", scale=[(300, 200), (450, 200)], keep_ratio=True)], 450),
    "resize to a choice": ([dict(type="RandomChoiceResize", scales=[(160, 160), (320, 240)], keep_ratio=True)], 320),
    "shortest edge": ([dict(type="ResizeShortestEdge", scale=300, max_size=350)], 350),
    "fixed shape": ([dict(type="FixShapeResize", width=260, height=280, keep_ratio=False)], 280),
    "large scale jitter": (
        [
            dict(type="RandomResize", scale=(512, 512), ratio_range=(0.1, 2.0), keep_ratio=True),
            dict(type="RandomCrop", crop_size=(256, 320), crop_type="absolute", allow_negative_crop=True),
        ],
        320,
    ),
    "relative crop": (
        [
            dict(type="Resize", scale=(400, 400), keep_ratio=True),
            dict(type="RandomCrop", crop_size=(0.9, 0.9), crop_type="relative_range", allow_negative_crop=True),
        ],
        400,
    ),
    "a choice of pipelines": (
        [
            dict(
                type="RandomChoice",
                transforms=[
                    [dict(type="Resize", scale=(200, 200))],
                    [dict(type="Resize", scale=(330, 200)), dict(type="RandomFlip", prob=0.5)],
                ],
            )
        ],
        330,
    ),
    "expanded before the resize": (
        [dict(type="Expand", mean=[0, 0, 0], to_rgb=True, ratio_range=(1, 4)), dict(type="Resize", scale=(300, 300))],
        300,
    ),
    "affine": (
        [dict(type="Resize", scale=(400, 400)), dict(type="RandomAffine", border=(-50, -50))],
        300,
    ),
}


def config_of(pipeline: list[dict], **model: object) -> Config:
    loader = dict(dataset=dict(type="RepeatDataset", dataset=dict(type="CocoDataset", pipeline=pipeline)))
    return Config(dict(model=model, train_dataloader=loader, val_dataloader=None))


@pytest.mark.parametrize("name", PIPELINES)
def test_no_image_of_a_pipeline_is_larger_and_one_is_nearly_as_large(name: str) -> None:
    """The transforms themselves, run on 200 random images, reach 90 % of the size and never exceed it."""
    steps, expected = PIPELINES[name]
    found = largest_image_side(config_of([dict(type="LoadImageFromFile"), *steps, dict(type="PackDetInputs")]))
    assert found == expected
    random = np.random.default_rng(0)
    set_random_seed(0)  # of the transforms
    built = [TRANSFORMS.build(copy.deepcopy(dict(step, _scope_="mmdet"))) for step in steps]
    largest = 0
    for _ in range(200):
        shape = tuple(random.integers(100, 500, 2).tolist())
        boxes = HorizontalBoxes(torch.tensor([[0.0, 0.0, shape[1], shape[0]]]))
        results = dict(img=np.zeros((*shape, 3), np.uint8), img_shape=shape, ori_shape=shape, gt_bboxes=boxes)
        results.update(gt_bboxes_labels=np.zeros(1, np.int64), gt_ignore_flags=np.zeros(1, bool))
        for transform in built:
            results = transform(results)
        largest = max(largest, *results["img"].shape[:2])
    assert 0.9 * found <= largest <= found


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("atss/atss_r50_fpn_1x_coco.py", 1333),
        ("atss/atss_r18_fpn_8xb8-amp-lsj-200e_coco.py", 1333),  # in test; crops of 1024 in training
        ("yolox/yolox_s_8xb8-300e_coco.py", 800),  # mosaics of 1280, cropped to 640; random batches of 480 to 800
        ("rtmdet/rtmdet_s_8xb32-300e_coco.py", 640),
        ("ssd/ssd300_coco.py", 300),
    ],
)
def test_configs_of_mmdetection(name: str, side: int) -> None:
    assert largest_image_side(Config.fromfile(STOCK / name)) == side


def test_no_size_in_the_pipelines() -> None:
    assert largest_image_side(config_of([dict(type="LoadImageFromFile"), dict(type="PackDetInputs")])) is None
    assert largest_image_side(config_of([dict(type="Resize", scale_factor=2.0)])) is None
    assert largest_image_side(Config(dict(model=dict(type="RetinaNet")))) is None


def test_a_batch_that_is_resized_counts() -> None:
    resize = dict(type="mmdet.BatchSyncRandomResize", random_size_range=(480, 960))
    cfg = config_of([dict(type="Resize", scale=(640, 640))], data_preprocessor=dict(batch_augments=[resize]))
    assert largest_image_side(cfg) == 960


# ---------------------------------------------------------------------------------------------------
# Range
# ---------------------------------------------------------------------------------------------------


@given(x=st.floats(0, 1), y=st.floats(0, 1))
def test_candidates_are_near_the_center(x: float, y: float) -> None:
    """No two of the nine nearest points of a grid are further from any point, along an axis, than the constant."""
    points = [(i - x, j - y) for i in range(-4, 6) for j in range(-4, 6)]
    nearest = sorted(points, key=lambda point: math.hypot(*point))[:9]
    assert max(abs(value) for point in nearest for value in point) <= CANDIDATE_OFFSET + 1e-9


def sides_of(size: tuple[int, int], boxes: torch.Tensor, strides: list[int]) -> list[torch.Tensor]:
    """Distances in strides, per level, from the locations that ATSS assigns in an image to the sides of its objects."""
    head = our_head(anchor_generator=dict(strides=strides))
    grid = Grid.of(head.layout, [tuple(math.ceil(side / stride) for side in size) for stride in strides], "cpu")
    labels = torch.zeros(len(boxes), dtype=torch.int64)
    truths = GroundTruths.of([InstanceData(bboxes=boxes, labels=labels)], torch.device("cpu"))
    regions = ValidRegions.of(grid, [dict(img_shape=size, pad_shape=size)])
    positives = head.assigner.assign_batch(truths, None, grid, regions, None).positives
    center, stride = grid.center(positives.level, positives.location), grid.stride[positives.level][:, None]
    distance = head.bbox_coder.encode(center, boxes[positives.gt_index]) / stride
    levels = zip(positives.per_level(distance), positives.per_level(positives.active))
    return [rows[active].flatten() for rows, active in levels]


@given(width=st.integers(200, 4000), height=st.integers(200, 4000), coarsest=st.sampled_from([8, 16, 32, 64]))
def test_an_object_of_the_images_size_is_not_clipped(width: int, height: int, coarsest: int) -> None:
    """Sides of all locations that ATSS assigns to it, on three levels, are on the bins of the chosen range."""
    width, height = max(width, 3 * coarsest), max(height, 3 * coarsest)
    strides = [coarsest // 4, coarsest // 2, coarsest]
    sides = torch.cat(sides_of((height, width), torch.tensor([[0.0, 0.0, width, height]]), strides))
    assume(len(sides) > 0)  # ATSS leaves some objects without a location
    assert float(sides.max()) <= SideRange(max(width, height), coarsest).reg_max


@pytest.mark.parametrize(("side", "levels"), [(640, 3), (1600, 3), (1600, 5)])
def test_share_of_clipped_sides_of_coco(gfl_data: Path, side: int, levels: int) -> None:
    """The chosen range clips no side of COCO's objects on three levels; at 1600 px, 16 clips 11 % at stride 32."""
    strides = [8 * 2**level for level in range(levels)]
    sides: list[list[torch.Tensor]] = [[] for _ in strides]
    for image in json.loads((gfl_data / "coco_val_boxes.json").read_text()):
        scale = side / max(image["height"], image["width"])
        size = tuple(32 * math.ceil(scale * image[edge] / 32) for edge in ("height", "width"))  # padded
        for level, found in zip(sides, sides_of(size, scale * torch.tensor(image["boxes"]).view(-1, 4), strides)):
            level.append(found)
    per_level = [torch.cat(level) for level in sides]
    chosen = SideRange(side, strides[-1])
    for last in sorted({16, chosen.reg_max}):
        shares = [float((level > last).double().mean()) for level in (*per_level, torch.cat(per_level))]
        printed = ", ".join(f"{share:.2%}" for share in shares)
        FIGURES[f"sides of COCO beyond {last} strides, {side} px, strides 8 to {strides[-1]} and all"] = printed
    assert levels == 5 or not any(bool((level > chosen.reg_max).any()) for level in per_level)
    if (side, levels) == (1600, 3):
        assert float((per_level[-1] > 16).double().mean()) == pytest.approx(0.11, abs=0.01)


def test_the_default_is_kept_unless_it_is_too_short() -> None:
    assert [SideRange(side, 32).reg_max for side in (None, 300, 640, 912, 913, 1600)] == [16, 16, 16, 16, 17, 27]


def test_a_swap_sets_the_range(tmp_path: Path) -> None:
    """YOLOF has one level of stride 32 and images of 1333 px; settings of the user's own are kept."""
    base = Config.fromfile(STOCK / "yolof/yolof_r50-c5_8xb8-1x_coco.py")
    assert gfl_plugin.swap_head(base).model.bbox_head.reg_max == 23
    assert gfl_plugin.swap_head(base, reg_max=12).model.bbox_head.reg_max == 12
    bins = dict(type="gfl_plugin.IntegralBBoxCoder", bins=dict(spacing="geometric", last=32))
    assert gfl_plugin.swap_head(base, bbox_coder=bins).model.bbox_head.reg_max == 16
    assert (
        gfl_plugin.swap_head(base, bbox_coder=dict(type="DiracBBoxCoder"), reg_max=None).model.bbox_head.reg_max is None
    )


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (
            [],
            "reg_max=23 instead of 16: images have sides of up to 1333 px, so that an object as large as the image has",
        ),
        (["--set", "reg_max=8"], ""),
        (["--set", "bbox_coder.bins.spacing=geometric", "bbox_coder.type=IntegralBBoxCoder"], ""),
    ],
)
def test_the_command_says_what_was_chosen_and_why(arguments: list[str], printed: str, tmp_path: Path, capsys) -> None:
    from gfl_plugin.cli import main

    out = tmp_path / "new.py"
    assert main(["swap", "mmdet::yolof/yolof_r50-c5_8xb8-1x_coco.py", "-o", str(out), *arguments]) == 0
    first, *rest = capsys.readouterr().out.splitlines()
    assert first == f"wrote {out}"
    assert (rest[0].startswith(printed) and "1333/2/32 + 1.75 = 22.6 strides" in rest[0]) if printed else not rest
