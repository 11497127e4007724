"""Whole detectors with each of the two heads, with equal weights and equal images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ...heads.gfl_defaults import gfl_head_config, gfl_test_cfg, gfl_train_cfg
from .case import SCORE_THRESHOLD, BenchmarkCase
from .checks import Disagreement
from .heads import KINDS

_WIDTHS = {18: [64, 128, 256, 512], 50: [256, 512, 1024, 2048]}  # channels of ResNet's stages


@dataclass(frozen=True)
class Scene:
    """A batch of noise images with boxes of real objects."""

    images: Tensor  # (B, 3, size, size)
    samples: list[DetDataSample]

    @staticmethod
    def of(case: BenchmarkCase, size: int, seed: int = 0) -> Scene:
        """Create square images with the objects of a case, scaled to the images.

        Args:
            case: provides the objects and the device.
            size: side of an image in pixels.
            seed: random seed of the noise.

        Returns:
            The batch.
        """
        device = case.cls_scores[0].device
        random = torch.Generator().manual_seed(seed)
        samples = []
        for truth, meta in zip(case.gt_instances, case.img_metas):
            height, width = meta["img_shape"]
            scale = truth.bboxes.new_tensor([size / width, size / height] * 2)
            shape = (size, size)
            sample = DetDataSample(
                gt_instances=InstanceData(bboxes=truth.bboxes * scale, labels=truth.labels),
                metainfo=dict(
                    img_shape=shape,
                    pad_shape=shape,
                    ori_shape=shape,
                    batch_input_shape=shape,
                    scale_factor=(1.0, 1.0),
                ),
            )
            samples.append(sample)
        images = torch.randn(len(samples), 3, size, size, generator=random).to(device)
        return Scene(images, samples)


def build_detectors(depth: int, classes: int, small: bool, device: str) -> tuple[nn.Module, nn.Module]:
    """Build ResNet, FPN and GFL head with equal weights, once with each head.

    Args:
        depth: depth of ResNet, 18 or 50.
        classes: number of classes C.
        small: whether to use a quarter of the width and half of the tower's depth, as in the demo's model.
        device: device of the detectors.

    Returns:
        The detector with MMDetection's head, the detector with the plugin's head.
    """
    channels = 64 if small else 256
    widths = [width // 4 for width in _WIDTHS[depth]] if small else _WIDTHS[depth]
    towers = dict(feat_channels=channels, stacked_convs=2 if small else 4)
    detectors = []
    for kind in KINDS:
        config = ConfigDict(
            type="mmdet.SingleStageDetector",
            backbone=dict(type="mmdet.ResNet", depth=depth, base_channels=16 if small else 64),
            neck=dict(
                type="mmdet.FPN", in_channels=widths, out_channels=channels, start_level=1,
                add_extra_convs="on_output", num_outs=5,
            ),
            bbox_head=gfl_head_config(classes, channels, type=kind, **towers),
            train_cfg=gfl_train_cfg("ATSSAssigner"),
            test_cfg=gfl_test_cfg(),
        )  # fmt: skip
        detectors.append(MODELS.build(config).to(device))
    theirs, ours = detectors
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


class Trainer:
    """Runs training steps of one detector: forward, losses, backward, SGD.

    Args:
        detector: is put into training mode.
        scene: batch of every step.
        dtype: dtype of autocast; None for fp32 without autocast.
    """

    def __init__(self, detector: nn.Module, scene: Scene, dtype: torch.dtype | None) -> None:
        self.detector, self.scene, self.dtype = detector.train(), scene, dtype
        # The learning rate is too small to change a weight, so that both detectors stay equal.
        self.optimizer = torch.optim.SGD(detector.parameters(), lr=1e-12, momentum=0.9)

    def losses(self) -> dict[str, list[Tensor]]:
        """Compute forward and losses.

        Returns:
            Per name, one loss per level.
        """
        with torch.autocast(self.scene.images.device.type, self.dtype, enabled=self.dtype is not None):
            return self.detector.loss(self.scene.images, self.scene.samples)

    def step(self) -> None:
        """Run one training step."""
        loss = sum(sum(levels) for levels in self.losses().values())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()


def steps_agree(theirs: Trainer, ours: Trainer) -> float:
    """Compute the largest relative difference of the losses of whole detectors.

    Args:
        theirs: trainer of the detector with MMDetection's head.
        ours: trainer of the detector with the plugin's head.

    Returns:
        The difference.

    Raises:
        Disagreement: if the difference exceeds 1e-4 in fp32. It is not checked in low precision, since MMDetection's
            losses are rounded.
    """
    values = [
        {name: sum(float(level.detach()) for level in levels) for name, levels in trainer.losses().items()}
        for trainer in (theirs, ours)
    ]
    difference = max(abs(values[0][name] - values[1][name]) / abs(values[0][name]) for name in values[0])
    if theirs.dtype is None and difference > 1e-4:
        raise Disagreement(f"losses of the whole detectors differ by {difference:.1e}")
    return difference


@torch.no_grad()
def raise_scores(detector: nn.Module, scene: Scene, above: int) -> None:
    """Shift the classifier's bias so that on average ``above`` scores per image exceed the test threshold.

    An untrained detector has no detections, so that its post-processing would take no time.

    Args:
        detector: is changed, and put into evaluation mode.
        scene: images for which the scores are computed.
        above: mean number of scores per image above the threshold.
    """
    detector.eval()
    cls_scores, _ = detector.bbox_head(detector.extract_feat(scene.images))
    logits = torch.cat([level.flatten() for level in cls_scores])
    highest = logits.topk(min(len(logits), above * len(scene.images))).values[-1]
    detector.bbox_head.gfl_cls.bias += math.log(SCORE_THRESHOLD / (1 - SCORE_THRESHOLD)) - highest
