"""Batches, heads and comparisons that tests share; the only state is the figures that a test run prints."""

from __future__ import annotations

import math
from dataclasses import dataclass

import gfl_plugin  # noqa: F401  # isort: skip  (must precede mmdet without compiled ops)
import torch
from mmdet.models.task_modules.prior_generators import anchor_inside_flags
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox_overlaps
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from gfl_plugin.heads.gfl_defaults import gfl_head_config, gfl_test_cfg, gfl_train_cfg

# The largest difference to MMDetection in this test run, by what was compared; printed at the end.
LARGEST_DIFFERENCES: dict[str, float] = {}
# Other measured figures, in the printed form.
FIGURES: dict[str, str] = {}
SCOPE = "gfl_plugin."


def lines_of_errors(stderr: str) -> list[str]:
    """The lines that a tool wrote to stderr, without the plugin's import message."""
    return [line for line in stderr.splitlines() if not line.startswith("gfl_plugin: ")]


def record(name: str, difference: float) -> float:
    """Record a difference if it is the largest of its name, and return it."""
    LARGEST_DIFFERENCES[name] = max(LARGEST_DIFFERENCES.get(name, 0.0), float(difference))
    return float(difference)


def head_config(**changes: object) -> dict:
    """A small GFL head's config for MMDetection's or our class; nested dicts are merged, None removes a key."""
    config = gfl_head_config(7, 8, [8, 16, 32], type="GFLHead", feat_channels=8, stacked_convs=1)
    del config["reg_max"]  # each head has its own default
    config.update(
        norm_cfg=dict(type="GN", num_groups=2), train_cfg=gfl_train_cfg("ATSSAssigner"), test_cfg=gfl_test_cfg()
    )
    return _merged(config, changes)


def _merged(config: dict, changes: dict) -> dict:
    for key, value in changes.items():
        if value is None:
            config.pop(key, None)
        elif isinstance(value, dict) and isinstance(config.get(key), dict):
            config[key] = _merged(dict(config[key]), value)
        else:
            config[key] = value
    return config


def build_head(config: dict):
    """A head from its config, as a detector builds it."""
    return MODELS.build(ConfigDict(config))


def our_head(**changes: object):
    """A small head of the plugin."""
    return build_head(head_config(**{"type": SCOPE + "GFLHead", **changes}))


def both_heads(**changes: object) -> tuple:
    """MMDetection's head and ours with the same weights."""
    theirs, ours = build_head(head_config(**changes)), our_head(**changes)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return theirs, ours


@dataclass
class Batch:
    """The arguments of ``loss_by_feat``."""

    cls_scores: list[Tensor]
    bbox_preds: list[Tensor]
    gt_instances: list[InstanceData]
    img_metas: list[dict]
    gt_instances_ignore: list[InstanceData] | None = None

    def arguments(self) -> tuple:
        return (
            self.cls_scores,
            self.bbox_preds,
            self.gt_instances,
            self.img_metas,
            self.gt_instances_ignore,
        )


@dataclass
class Recipe:
    """The settings of a random batch."""

    seed: int = 0
    strides: tuple[int, ...] = (8, 16, 32)
    height: int = 160  # pixels of the batch; the size of each image varies
    width: int = 192
    images: int = 2
    objects: tuple[int, ...] = (5, 3)  # per image
    ignored: tuple[int, ...] = ()  # ignored regions per image
    classes: int = 7
    reg_max: int = 16
    mean: float = -2.0  # of the class logits
    spread: float = 2.0
    same_size: bool = False


def random_batch(recipe: Recipe) -> Batch:
    """Random maps, images of different sizes and objects from tiny to larger than the image."""
    random = torch.Generator().manual_seed(recipe.seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=random)

    sizes = [(math.ceil(recipe.height / s), math.ceil(recipe.width / s)) for s in recipe.strides]
    normal = [torch.randn(recipe.images, recipe.classes, *size, generator=random) for size in sizes]
    cls_scores = [values * recipe.spread + recipe.mean for values in normal]
    channels = 4 * (recipe.reg_max + 1)
    bbox_preds = [2 * torch.randn(recipe.images, channels, *size, generator=random) for size in sizes]
    metas, truths, ignored = [], [], []
    for image in range(recipe.images):
        part = 1.0 if recipe.same_size or image == 0 else 0.4 + 0.6 * float(uniform(1))
        height, width = max(1, round(recipe.height * part)), max(1, round(recipe.width * (1.4 - part)))
        width = recipe.width if recipe.same_size else min(width, recipe.width)
        divisor = recipe.strides[0]
        pad_shape = (
            min(math.ceil(height / divisor) * divisor, recipe.height),
            min(math.ceil(width / divisor) * divisor, recipe.width),
        )
        scale = (0.5 + float(uniform(1)), 0.5 + float(uniform(1)))
        metas.append(dict(img_shape=(height, width), pad_shape=pad_shape, scale_factor=scale))
        boxes = random_boxes(recipe.objects[image], height, width, uniform)
        labels = torch.randint(0, recipe.classes, (len(boxes),), generator=random)
        truths.append(InstanceData(bboxes=boxes, labels=labels))
        if recipe.ignored:
            ignored.append(InstanceData(bboxes=random_boxes(recipe.ignored[image], height, width, uniform)))
    return Batch(cls_scores, bbox_preds, truths, metas, ignored or None)


def random_boxes(count: int, height: float, width: float, uniform=torch.rand) -> Tensor:
    """(count, 4) boxes whose centers lie in the image; sides range from 2 px to more than its size."""
    center = uniform(count, 2) * torch.tensor([width, height], dtype=torch.float32)
    half = (uniform(count, 2) * math.log(0.8 * max(height, width) + 2)).exp()
    return torch.cat([center - half, center + half], dim=1)


def without_ties(batch: Batch, head, tolerance: float = 1e-3) -> Batch:
    """The batch without objects whose assignment depends on a tie.

    A tie is one of these, up to a tolerance: the last selected and the first omitted prior are equally far from the
    object's center; an IoU is at the threshold; a center is 0.01 px from a side. The assignment then depends on the
    order of additions. Ties are found in fp64, from the definition.
    """
    generator = head.prior_generator
    sizes = [level.shape[-2:] for level in batch.cls_scores]
    levels = generator.grid_priors(sizes, device="cpu")
    border = head.train_cfg["allowed_border"]
    kept = []
    for index, (truth, meta) in enumerate(zip(batch.gt_instances, batch.img_metas)):
        flags = generator.valid_flags(sizes, meta["pad_shape"], "cpu")
        inside = [anchor_inside_flags(p, f, meta["img_shape"], border) for p, f in zip(levels, flags)]
        priors = [p[keep].double() for p, keep in zip(levels, inside)]
        ignore = batch.gt_instances_ignore[index].bboxes if batch.gt_instances_ignore else None
        threshold = head.assigner.ignore_iof_thr
        clear = [
            not _is_tied(box.double(), priors, head.assigner.topk, ignore, threshold, tolerance) for box in truth.bboxes
        ]
        kept.append(truth[torch.tensor(clear, dtype=torch.bool)])
    return Batch(batch.cls_scores, batch.bbox_preds, kept, batch.img_metas, batch.gt_instances_ignore)


def _is_tied(
    box: Tensor, priors: list[Tensor], topk: int, ignore: Tensor | None, ignore_threshold: float, tolerance: float
) -> bool:
    center = (box[:2] + box[2:]) / 2
    ious, insides = [], []
    for level in priors:
        if not len(level):
            continue
        middle = (level[:, :2] + level[:, 2:]) / 2
        distance = (middle - center).norm(dim=1)
        if ignore is not None and len(ignore) and ignore_threshold > 0:
            part = bbox_overlaps(level, ignore.double(), mode="iof").amax(dim=1)
            if ((part - ignore_threshold).abs() < 1e-5).any():
                return True
            distance = torch.where(part > ignore_threshold, 1e8, distance)
        order = distance.argsort()
        ranked = distance[order]
        if len(ranked) > topk and ranked[topk] - ranked[topk - 1] < tolerance:
            return True
        chosen = order[:topk]
        ious.append(bbox_overlaps(level[chosen], box[None]).squeeze(1))
        insides.append(torch.cat([middle[chosen] - box[:2], box[2:] - middle[chosen]], dim=1).amin(dim=1))
    iou, inside = torch.cat(ious), torch.cat(insides)
    if len(iou) < 2:
        return True  # MMDetection's standard deviation of one value is NaN
    threshold = iou.mean() + iou.std()
    return bool(((iou - threshold).abs() < 1e-5).any() or ((inside - 0.01).abs() < 1e-4).any())


def boxes_of_distributions(found: InstanceData, bins: Tensor) -> Tensor:
    """(N, 4) boxes from the distributions of their sides, by definition: mean distances, from their points."""
    x, y, x_scale, y_scale = found.bbox_points.double().unbind(dim=1)
    left, top, right, bottom = (found.bbox_distributions.double() * bins.double()).sum(dim=2).unbind(dim=1)
    sides = [x - left * x_scale, y - top * y_scale, x + right * x_scale, y + bottom * y_scale]
    return torch.stack(sides, dim=1)


def losses_and_gradients(head, batch: Batch) -> tuple[dict[str, list[float]], list[Tensor], list[Tensor]]:
    """The losses per level, and the gradients of their sum with respect to class and distribution logits."""
    cls_scores = [level.detach().clone().requires_grad_() for level in batch.cls_scores]
    bbox_preds = [level.detach().clone().requires_grad_() for level in batch.bbox_preds]
    losses = head.loss_by_feat(cls_scores, bbox_preds, batch.gt_instances, batch.img_metas, batch.gt_instances_ignore)
    sum(sum(levels) for levels in losses.values()).backward()
    values = {name: [float(level.detach()) for level in levels] for name, levels in losses.items()}
    return values, [level.grad for level in cls_scores], [level.grad for level in bbox_preds]


def gradient_difference(theirs: list[Tensor], ours: list[Tensor]) -> float:
    """Largest difference of two lists of gradients, relative to the largest gradient."""
    largest = max(float(level.abs().max()) for level in theirs if level.numel())
    return max(float((a - b).abs().max()) for a, b in zip(theirs, ours) if a.numel()) / max(largest, 1e-12)
