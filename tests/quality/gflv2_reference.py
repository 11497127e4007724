"""GFLV2 from its formulas, in fp64: the reference of the tests. Layers are named as in the authors' checkpoints."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import partial

import torch
from cases import Batch, head_config
from mmdet.models.dense_heads import GFLHead
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy


class ProbabilityQFL(nn.Module):
    """|y - p|^β times the binary cross entropy of the joint score p, a probability, and its target y."""

    def __init__(self, beta: float) -> None:
        super().__init__()
        self.beta = beta

    def forward(self, pred: Tensor, target: tuple[Tensor, Tensor], weight: Tensor, avg_factor: float) -> Tensor:
        label, score = target
        probability = pred.sigmoid()  # the product, as `pred` is its logit
        quality = torch.zeros_like(probability)
        rows = (label < pred.shape[1]).nonzero().squeeze(1)
        quality[rows, label[rows]] = score[rows].to(quality)
        entropy = binary_cross_entropy(probability, quality, reduction="none")
        return ((quality - probability).abs() ** self.beta * entropy).sum(1).mul(weight).sum() / avg_factor


class ReferenceHead(GFLHead):
    """MMDetection's GFLHead with the authors' product of scores."""

    def __init__(
        self, *args, topk: int, values: bool, mean: bool, variance: bool, hidden: int, beta: float, **named
    ) -> None:
        self.statistics = (topk, values, mean, variance)
        self.hidden = hidden
        super().__init__(*args, **named)
        self.loss_cls = ProbabilityQFL(beta)
        self.prior_generator.grid_priors = partial(self.prior_generator.grid_priors, dtype=torch.float64)

    def _init_layers(self) -> None:
        super()._init_layers()
        topk, values, mean, variance = self.statistics
        numbers = 4 * (topk * values + mean + variance)
        self.reg_conf = nn.Sequential(
            nn.Conv2d(numbers, self.hidden, 1), nn.ReLU(), nn.Conv2d(self.hidden, 1, 1), nn.Sigmoid()
        )

    def joint_score(self, cls_logits: Tensor, box_logits: Tensor) -> Tensor:
        """(B, C, H, W) class logits and (B, 4·(n+1), H, W) box logits -> (B, C, H, W) products of score and quality."""
        topk, values, mean, variance = self.statistics
        numbers = []
        for side in box_logits.chunk(4, dim=1):
            largest = side.softmax(dim=1).sort(dim=1, descending=True).values[:, :topk]
            average = largest.sum(dim=1, keepdim=True) / topk
            numbers += [largest] * values + [average] * mean
            numbers += [((largest - average) ** 2).sum(dim=1, keepdim=True) / topk] * variance
        return cls_logits.sigmoid() * self.reg_conf(torch.cat(numbers, dim=1))

    def forward_single(self, x: Tensor, scale: nn.Module) -> tuple[Tensor, Tensor]:
        """Logits of the joint scores, which MMDetection's losses and detections take, and box logits."""
        cls_feat = reg_feat = x
        for cls_conv, reg_conv in zip(self.cls_convs, self.reg_convs):
            cls_feat, reg_feat = cls_conv(cls_feat), reg_conv(reg_feat)
        box_logits = scale(self.gfl_reg(reg_feat))
        return self.joint_score(self.gfl_cls(cls_feat), box_logits).logit(), box_logits

    def loss_by_feat_single(
        self, anchors: Tensor, scores: Tensor, boxes: Tensor, labels: Tensor, weights: Tensor, *rest, **named
    ) -> tuple[Tensor, ...]:
        """MMDetection's losses of a level; the weights' dtype, fp32, would be that of the quality targets."""
        return super().loss_by_feat_single(anchors, scores, boxes, labels, weights.double(), *rest, **named)


def reference_head(quality: dict, beta: float = 2.0, **changes: object) -> ReferenceHead:
    """A reference head with MMDetection's assigner, in fp64.

    Args:
        quality: topk, values, mean, variance and hidden.
        beta: of QFL.
        **changes: as ``head_config``.
    """
    if "ReferenceHead" not in MODELS:
        MODELS.register_module(module=ReferenceHead)
    config = head_config(**changes)
    config.update(type="ReferenceHead", beta=beta, **quality)
    with in_double():
        return MODELS.build(ConfigDict(config)).double()


@contextmanager
def in_double() -> Generator[None]:
    """New tensors are fp64, such as the priors of MMDetection's heads."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def as_double(batch: Batch) -> Batch:
    """The batch in fp64, except for its maps."""
    truths = [truth.clone() for truth in batch.gt_instances]
    for truth in truths:
        truth.bboxes = truth.bboxes.double()
    return Batch(batch.cls_scores, batch.bbox_preds, truths, batch.img_metas)
