"""Inputs of both heads: objects of real images, and maps of logits."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from ...heads.gfl_defaults import STRIDES, gfl_head_config, gfl_test_cfg

_BINS = gfl_head_config(1, 1)["reg_max"] + 1  # per side
_SHORT, _LONG = 800, 1333  # pixels: COCO's usual training size
SCORE_THRESHOLD = gfl_test_cfg()["score_thr"]
_THRESHOLD_LOGIT = math.log(SCORE_THRESHOLD / (1 - SCORE_THRESHOLD))


@dataclass(frozen=True)
class BenchmarkCase:
    """Inputs of both heads."""

    description: str
    classes: int  # C
    cls_scores: list[Tensor]  # per level (B, C, H, W) class logits
    bbox_preds: list[Tensor]  # per level (B, 4 * bins, H, W) logits of the sides' distributions
    gt_instances: list[InstanceData]  # per image: bboxes in pixels, labels
    img_metas: list[dict]  # per image

    @staticmethod
    def coco(
        boxes: Path,
        batch: int = 8,
        classes: int = 80,
        first: int = 0,
        seed: int = 0,
        device: str = "cpu",
        short: int = _SHORT,
        objects: int | None = None,
    ) -> BenchmarkCase:
        """Create a case from real objects, scaled as MMDetection scales COCO.

        The shorter side is 800 pixels, the longer side at most 1333; both are padded to multiples of 32. Class logits
        are drawn around the initial value of the head, -4.6, and distribution logits around 0.

        Args:
            boxes: JSON file, a list of images with height, width, boxes (x1, y1, x2, y2) and labels.
            batch: number of images.
            classes: number of classes C; labels are taken modulo C.
            first: index of the first landscape image.
            seed: random seed of the logits.
            device: device of the tensors.
            short: shorter side of the images in pixels; the longer side is scaled by the same factor.
            objects: number of objects per image, drawn from all objects of the file; None for the image's own objects.

        Returns:
            The case.

        Raises:
            ValueError: if the file has fewer landscape images than ``batch``.
        """
        # MMDetection's AspectRatioBatchSampler does not mix landscape and portrait images. Landscape fills 800×1344.
        landscape = [image for image in json.loads(boxes.read_text()) if image["width"] >= image["height"]]
        images = landscape[first : first + batch] if objects is None else (landscape * batch)[first : first + batch]
        if len(images) < batch:
            raise ValueError(f"{boxes} has {len(images)} landscape images from index {first}; the batch needs {batch}")
        random = torch.Generator().manual_seed(seed)
        long = _LONG * short // _SHORT
        truths, metas = [], []
        for image in images:
            height, width = image["height"], image["width"]
            scale = min(long / max(height, width), short / min(height, width))
            shape = (round(height * scale), round(width * scale))
            pad_shape = tuple(math.ceil(side / 32) * 32 for side in shape)
            metas.append(dict(img_shape=shape, pad_shape=pad_shape, scale_factor=(scale, scale)))
            own = torch.tensor(image["boxes"]) * scale, torch.tensor(image["labels"], dtype=torch.int64)
            if objects is not None:
                own = _drawn(landscape, objects, shape, random)
            truths.append(InstanceData(bboxes=own[0].to(device), labels=(own[1] % classes).to(device)))
        height, width = (math.ceil(side / 32) * 32 for side in (short, long))
        sizes = [(math.ceil(height / stride), math.ceil(width / stride)) for stride in STRIDES]
        count = sum(map(len, truths))
        return BenchmarkCase(
            description=f"batch {batch}, {height}×{width}, {classes} classes, {count} objects",
            classes=classes,
            cls_scores=[(torch.randn(batch, classes, *size, generator=random) - 4.6).to(device) for size in sizes],
            bbox_preds=[torch.randn(batch, 4 * _BINS, *size, generator=random).to(device) for size in sizes],
            gt_instances=truths,
            img_metas=metas,
        )

    def as_trained(self, above: int, seed: int = 0) -> BenchmarkCase:
        """Replace the maps by maps like those of a trained detector at test time.

        For each image, ``above`` scores above the test threshold are drawn: they have the class of one of its objects,
        are near the object's center on the level of its size, and their distributions decode to its box with a little
        noise. Two of them may share an entry of the map. All other logits are below the threshold, around -7.

        Args:
            above: number of scores per image above the threshold.
            seed: random seed.

        Returns:
            A new case with the same objects.
        """
        random = torch.Generator().manual_seed(seed)
        threshold = _THRESHOLD_LOGIT
        device = self.cls_scores[0].device
        # No two logits are equal, since the order of equal scores in MMDetection's sort is not defined.
        scores = [
            (torch.randn(level.shape, generator=random) - 7).clamp_(max=threshold - 0.1) for level in self.cls_scores
        ]
        distributions = [torch.randn(level.shape, generator=random) for level in self.bbox_preds]
        bins = torch.arange(_BINS)
        for number, truth in enumerate(self.gt_instances):
            objects = torch.randint(len(truth), (above,), generator=random).tolist() if len(truth) else []
            logits = torch.linspace(threshold + 0.01, 2.0, above)[torch.randperm(above, generator=random)]
            for logit, index in zip(logits, objects):
                box, label = truth.bboxes[index].cpu(), int(truth.labels[index])
                sides = box[2:] - box[:2]
                # The prior's side is 8 strides; the next level has priors of twice that side.
                level = int((sides.prod().sqrt() / 64).clamp(min=1).log2().round().clamp(max=len(STRIDES) - 1))
                height, width = scores[level].shape[2:]
                place = (box[:2] + sides / 2 + sides * 0.5 * torch.randn(2, generator=random)) / STRIDES[level]
                x, y = int(place[0].clamp(0, width - 1)), int(place[1].clamp(0, height - 1))
                scores[level][number, label, y, x] = logit
                center = torch.tensor([x, y]) * STRIDES[level]
                distance = torch.cat([center - box[:2], box[2:] - center]) / STRIDES[level]
                peak = -((bins - distance.clamp(0, _BINS - 1)[:, None]) ** 2)
                distributions[level][number, :, y, x] = (peak + 0.5 * torch.randn(4, _BINS, generator=random)).flatten()
        count = sum(int((level > threshold).sum()) for level in scores) // len(self.gt_instances)
        return BenchmarkCase(
            description=f"{self.description}, {count} scores per image above {SCORE_THRESHOLD}",
            classes=self.classes,
            cls_scores=[level.to(device) for level in scores],
            bbox_preds=[level.to(device) for level in distributions],
            gt_instances=self.gt_instances,
            img_metas=self.img_metas,
        )

    def with_many_scores(self, seed: int = 0) -> BenchmarkCase:
        """Replace the class logits by some of which thousands per image are above the test threshold.

        They are drawn from N(-6, 1.2²), as in the first epochs of a training. The logits of an image above the
        threshold differ by at least 1e-6, since the order of equal scores in MMDetection's sort is not defined.

        Args:
            seed: random seed.

        Returns:
            A new case with the same objects and distribution logits.
        """
        random = torch.Generator().manual_seed(seed)
        levels = [torch.randn(level.shape, generator=random).mul_(1.2).sub_(6) for level in self.cls_scores]
        count = sum(_spread(levels, image, _THRESHOLD_LOGIT) for image in range(len(self.img_metas)))
        return replace(
            self,
            description=f"{self.description}, {count // len(self.img_metas)} scores per image above {SCORE_THRESHOLD}",
            cls_scores=[level.to(self.cls_scores[0].device) for level in levels],
        )

    def leaves(self) -> tuple[list[Tensor], list[Tensor]]:
        """Create leaf tensors for autograd that share the memory of the case.

        Returns:
            Class logits and distribution logits, one tensor per level.
        """
        cls_scores, bbox_preds = (
            [level.detach().requires_grad_() for level in levels] for levels in (self.cls_scores, self.bbox_preds)
        )
        return cls_scores, bbox_preds


def _drawn(images: list[dict], count: int, shape: tuple[int, int], random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Boxes and labels of ``count`` random objects of all images, scaled to ``shape``.

    Each side is moved by up to 5 % of the box's length, so that no two objects are equal.
    """
    every = [(image, box, label) for image in images for box, label in zip(image["boxes"], image["labels"])]
    chosen = [every[index] for index in torch.randint(len(every), (count,), generator=random).tolist()]
    size = torch.tensor([[image["width"], image["height"]] * 2 for image, _, _ in chosen])
    boxes = torch.tensor([box for _, box, _ in chosen]) / size * torch.tensor([shape[1], shape[0]] * 2)
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    boxes = boxes + sides * 0.1 * (torch.rand(count, 4, generator=random) - 0.5)
    return boxes, torch.tensor([label for _, _, label in chosen])


def _spread(levels: list[Tensor], image: int, threshold: float) -> int:
    """Move an image's logits above a threshold apart, so that no two scores are equal; returns how many they are."""
    planes = [level[image].view(-1) for level in levels]
    above = [plane > threshold for plane in planes]
    values = torch.cat([plane[own] for plane, own in zip(planes, above)])
    values[values.argsort()] += 1e-6 * torch.arange(len(values))  # a few units in the last place
    for plane, own, part in zip(planes, above, values.split([int(own.sum()) for own in above])):
        plane[own] = part
    return len(values)
