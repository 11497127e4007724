"""GFLV2's losses from the outputs of the convolutions, by the authors' operations and by the plugin."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from ...quality import DistributionGuidedQuality, Matched
from .case import BenchmarkCase
from .heads import CHANNELS, build_heads

_TOPK, _HIDDEN = 4, 64


class _WeightsOfMMDetection(DistributionGuidedQuality):
    """Weighs boxes as MMDetection's head does if its class maps are probabilities: by their sigmoid."""

    def box_weight(self, matched: Matched, target: Tensor) -> Tensor:
        return matched.score.sigmoid()


class TheirGFLV2(nn.Module):
    """MMDetection's GFLHead with the product of scores, as the authors compute it: a map per operation.

    Args:
        head: MMDetection's head, whose QualityFocalLoss takes probabilities.
    """

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head
        self.layers = nn.Sequential(
            nn.Conv2d(4 * (_TOPK + 1), _HIDDEN, 1), nn.ReLU(), nn.Conv2d(_HIDDEN, 1, 1), nn.Sigmoid()
        )

    def joint(self, cls_logits: Tensor, box_logits: Tensor) -> Tensor:
        """Joint scores of a level.

        Args:
            cls_logits: (B, C, H, W).
            box_logits: (B, 4·(n+1), H, W).

        Returns:
            (B, C, H, W) probabilities.
        """
        images, channels, height, width = box_logits.shape
        probability = box_logits.reshape(images, 4, channels // 4, height, width).softmax(dim=2)
        largest = probability.topk(_TOPK, dim=2).values
        told = torch.cat([largest, largest.mean(dim=2, keepdim=True)], dim=2)
        return cls_logits.sigmoid() * self.layers(told.reshape(images, -1, height, width))

    def layer_parameters(self) -> list[nn.Parameter]:
        """Parameters of the two layers."""
        return list(self.layers.parameters())


class OurGFLV2(nn.Module):
    """The plugin's head with GFLV2's quality.

    Args:
        head: the plugin's head.
    """

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def joint(self, cls_logits: Tensor, box_logits: Tensor) -> Tensor:
        """Joint logits of a level; see :meth:`TheirGFLV2.joint`.

        Args:
            cls_logits: (B, C, H, W).
            box_logits: (B, 4·(n+1), H, W).

        Returns:
            (B, C, H, W) logits.
        """
        return self.head.quality.outputs(cls_logits, cls_logits, box_logits)[0]

    def layer_parameters(self) -> list[nn.Parameter]:
        """Parameters of the two layers."""
        return list(self.head.quality.parameters())


def build_gflv2(classes: int, device: str = "cpu") -> tuple[TheirGFLV2, OurGFLV2]:
    """Build GFLV2 both ways, with equal weights.

    Args:
        classes: number of classes C.
        device: device of the heads.

    Returns:
        GFLV2 on MMDetection's head, the plugin's.
    """
    theirs, ours = build_heads(classes)
    theirs.loss_cls = MODELS.build(
        dict(type="mmdet.QualityFocalLoss", use_sigmoid=True, activated=True, beta=2.0, loss_weight=1.0)
    )
    ours.quality = _WeightsOfMMDetection(topk=_TOPK, hidden=_HIDDEN)
    ours.quality.init_layers(CHANNELS)
    theirs, ours = TheirGFLV2(theirs), OurGFLV2(ours)
    with torch.no_grad():
        for own, other in zip(ours.layer_parameters(), theirs.layer_parameters()):
            own.copy_(other)
    return theirs.to(device), ours.to(device)


def gflv2_losses(
    model: TheirGFLV2 | OurGFLV2, cls_logits: Sequence[Tensor], box_logits: Sequence[Tensor], case: BenchmarkCase
) -> dict[str, list[Tensor]]:
    """Losses from the outputs of the convolutions.

    Args:
        model: GFLV2.
        cls_logits: per level (B, C, H, W).
        box_logits: per level (B, 4·(n+1), H, W).
        case: provides the objects.

    Returns:
        Per name, one loss per level.
    """
    joint = [model.joint(a, b) for a, b in zip(cls_logits, box_logits)]
    return model.head.loss_by_feat(joint, list(box_logits), case.gt_instances, case.img_metas)
