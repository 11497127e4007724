"""Detectors of a few small layers with random weights, whose export takes seconds."""

from __future__ import annotations

from collections.abc import Mapping

import gfl_plugin  # noqa: F401  # isort: skip  (must precede mmdet without compiled ops)
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor, nn

STRIDES = (8, 16)
CHANNELS = 8
TEST_CFG = dict(nms_pre=20, min_bbox_size=0, score_thr=0.3, nms=dict(type="nms", iou_threshold=0.5), max_per_img=12)
ANCHORS = dict(
    type="AnchorGenerator", octave_base_scale=4, scales_per_octave=2, ratios=[0.5, 1, 2], strides=list(STRIDES)
)
GFL = dict(
    type="gfl_plugin.GFLHead",
    feat_channels=CHANNELS,
    stacked_convs=1,
    norm_cfg=dict(type="GN", num_groups=2),
    anchor_generator=dict(
        type="AnchorGenerator", ratios=[1.0], octave_base_scale=8, scales_per_octave=1, strides=list(STRIDES)
    ),
)
# With one level, for what does not depend on levels: an export's time depends on the number of operators.
ONE_LEVEL = {**GFL, "anchor_generator": {**GFL["anchor_generator"], "strides": [8]}}
# Heads by name: qualities and box coders of GFLHead, heads of other families, and MMDetection's GFLHead.
HEADS: dict[str, dict] = {
    "joint": dict(GFL, reg_max=8),
    "gflv2": dict(ONE_LEVEL, quality=dict(type="DistributionGuidedQuality", hidden=4), bbox_coder=dict(
        type="IntegralBBoxCoder", reg_max=8, bins=dict(spacing="geometric", last=16))),
    "no_quality_gaussian": dict(ONE_LEVEL, quality=dict(type="NoQuality"), bbox_coder=dict(type="GaussianBBoxCoder")),
    "branch_dirac": dict(ONE_LEVEL, quality=dict(type="QualityBranch"), bbox_coder=dict(type="DiracBBoxCoder")),
    "guided": dict(ONE_LEVEL, quality=dict(type="GuidedQuality"), reg_max=8),
    "mmdet": dict(ONE_LEVEL, type="GFLHead", reg_max=8, loss_cls=dict(
        type="QualityFocalLoss", use_sigmoid=True), loss_dfl=dict(type="DistributionFocalLoss"), bbox_coder=dict(
            type="DistancePointBBoxCoder"), loss_bbox=dict(type="GIoULoss")),
    "retina": dict(
        type="gfl_plugin.RetinaQFLHead",
        feat_channels=CHANNELS,
        stacked_convs=1,
        anchor_generator=ANCHORS,
        bbox_coder=dict(type="DeltaXYWHBBoxCoder", target_stds=[0.3, 0.3, 0.5, 0.5]),
    ),
    "ssd": dict(
        type="gfl_plugin.SSDQFLHead",
        in_channels=(CHANNELS, CHANNELS),
        anchor_generator=dict(
            type="SSDAnchorGenerator",
            scale_major=False,
            strides=list(STRIDES),
            ratios=[[2], [2, 3]],
            min_sizes=[16, 40],
            max_sizes=[40, 90],
        ),
        bbox_coder=dict(type="DeltaXYWHBBoxCoder", target_stds=[0.1, 0.1, 0.2, 0.2]),
    ),
    "fovea": dict(
        type="gfl_plugin.FoveaQFLHead",
        feat_channels=CHANNELS,
        stacked_convs=1,
        strides=list(STRIDES),
        base_edge_list=[16, 32],
        scale_ranges=((1, 64), (32, 512)),
    ),
    "fcos": dict(
        type="gfl_plugin.FCOSQFLHead",
        feat_channels=CHANNELS,
        stacked_convs=1,
        strides=[8],
        regress_ranges=((-1, 1e8),),
        norm_cfg=dict(type="GN", num_groups=2),
        norm_on_bbox=True,
    ),
}  # fmt: skip
RESIZED = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(96, 64), keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="PackDetInputs"),
]


@MODELS.register_module(name="TinyBackboneOfTests", force=True)
class TinyBackbone(nn.Module):
    """Two levels of features, from two convolutions, or one level."""

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels
        self.first = nn.Conv2d(3, CHANNELS, 9, stride=8, padding=4)
        self.second = nn.Conv2d(CHANNELS, CHANNELS, 3, stride=2, padding=1)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Features.

        Args:
            images: (B, 3, H, W).

        Returns:
            (B, CHANNELS, H/8, W/8) and (B, CHANNELS, H/16, W/16).
        """
        first = self.first(images).tanh()
        return (first, self.second(first).tanh())[: self.levels]


def config_of(
    head: str, classes: int = 3, pipeline: list[dict] | None = None, test_cfg: Mapping | None = None, **changes: object
) -> Config:
    """A config with a tiny detector.

    Args:
        head: of HEADS.
        classes: number of classes.
        pipeline: of test images.
        test_cfg: changes the test settings.
        **changes: of the head.

    Returns:
        The config.
    """
    bbox_head = {"in_channels": CHANNELS, **HEADS[head], **changes, "num_classes": classes}
    names = tuple(f"class {number}" for number in range(classes))
    dataset = dict(metainfo=dict(classes=names), pipeline=RESIZED if pipeline is None else pipeline)
    return Config(
        dict(
            default_scope="mmdet",
            model=dict(
                type="SingleStageDetector",
                data_preprocessor=dict(
                    type="DetDataPreprocessor",
                    mean=[123.675, 116.28, 103.53],
                    std=[58.395, 57.12, 57.375],
                    bgr_to_rgb=True,
                    pad_size_divisor=32,
                ),
                backbone=dict(type="TinyBackboneOfTests", levels=len(_strides(bbox_head))),
                bbox_head=bbox_head,
                test_cfg={**TEST_CFG, **(test_cfg or {})},
            ),
            test_dataloader=dict(dataset=dataset),
        )
    )


def _strides(head: Mapping) -> list[int]:
    return head["strides"] if "strides" in head else head["anchor_generator"]["strides"]


def detector_of(cfg: Config, seed: int = 0) -> nn.Module:
    """The detector of a config with random weights: detections on random images, none on a black one."""
    init_default_scope("mmdet")
    model = MODELS.build(cfg.model)
    random = torch.Generator().manual_seed(seed)
    for name, values in model.named_parameters():
        if values.ndim > 1:
            spread = 0.5 if name.endswith("backbone.first.weight") else 0.3
            values.data = spread * torch.randn(values.shape, generator=random)
        elif name.endswith("bias"):
            values.data.fill_(-1.5 if _is_last(name) else 0.0)
    model.dataset_meta = dict(classes=cfg.test_dataloader.dataset.metainfo.classes)
    return model.eval()


def _is_last(name: str) -> bool:
    """Whether a parameter belongs to the layer that gives class logits."""
    return (
        any(f".{layer}." in name for layer in ("gfl_cls", "retina_cls", "conv_cls", "cls_convs")) and ".gn." not in name
    )


def normalized_images(count: int, height: int, width: int, seed: int = 0) -> Tensor:
    """(count, 3, height, width) random images, as a data preprocessor gives them."""
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(seed))
