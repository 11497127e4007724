"""The modules that become ONNX graphs: a detector with what follows it, with static shapes except batch and size."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .best_places import best_places
from .box_decoding import decoding_of
from .onnx_operations import onnx_nms


@dataclass(frozen=True)
class Selection:
    """Which boxes a graph gives; see ModelDescription."""

    topk: int  # class scores per level that are decoded
    with_std: bool
    class_threshold: float  # class scores must be above it; applies where other scores are given, else they are 0
    min_size: float  # pixels of the output; boxes whose width or height is not above it have score 0; negative: all
    score_threshold: float = 0.0  # of the contract "nms" only, as all below
    iou_threshold: float = 0.6
    class_agnostic: bool = False
    max_per_image: int = 100


class RawNetwork(nn.Module):
    """Outputs of the head, level after level: class logits, box numbers, and quality maps if there are any.

    Args:
        detector: a single-stage detector in eval mode.
    """

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Outputs of the head.

        Args:
            images: (B, 3, H, W), as the data preprocessor gives them.

        Returns:
            L maps each of class logits, box numbers and, if there are any, qualities.
        """
        return tuple(level for maps in self.detector.bbox_head(self.detector.extract_feat(images)) for level in maps)


class BoxNetwork(nn.Module):
    """The best boxes of each level, decoded and clipped.

    Args:
        detector: a single-stage detector in eval mode.
        selection: which boxes.

    Raises:
        ValueError: for a head that is not supported.
    """

    def __init__(self, detector: nn.Module, selection: Selection) -> None:
        super().__init__()
        self.detector = detector
        self.selection = selection
        self.decoding = decoding_of(detector.bbox_head)

    def forward(self, images: Tensor, sizes: Tensor, scale: Tensor | None = None) -> tuple[Tensor, ...]:
        """Boxes, scores, labels and standard deviations.

        Args:
            images: (B, 3, H, W), as the data preprocessor gives them.
            sizes: (B, 2) height and width of the part of each image that is not padding, int64.
            scale: (4,) output pixels per pixel of the network's input along x, y, x, y; None for 1.

        Returns:
            (B, N, 4), (B, N), (B, N) int64 and, if asked for, (B, N, 4).
        """
        decoding, topk, raw, priors, found = self.decoding, self.selection.topk, [], [], []
        maps = self.detector.bbox_head(self.detector.extract_feat(images))
        for level, (logits, box_map) in enumerate(zip(maps[0], maps[1])):
            per_cell = decoding.priors_per_cell(level)
            places = best_places(logits, per_cell, topk)
            found.append(places)
            raw.append(places.values_of(box_map, per_cell))
            priors.append(decoding.priors(level, places.prior, places.columns_and_rows()))
        units = torch.tensor(decoding.units).repeat_interleave(topk)  # (N,)
        raw = torch.cat(raw, dim=1)
        boxes = decoding.boxes(torch.cat(priors, dim=1), raw, units, sizes.float())
        boxes = boxes if scale is None else boxes * scale
        quality = None
        if len(maps) > 2:
            quality = torch.cat([own.values_of(level, 1) for own, level in zip(found, maps[2])], dim=1)
        scores = self._scores(torch.cat([own.logit for own in found], dim=1), quality, boxes)
        outputs = (boxes, scores, torch.cat([own.label for own in found], dim=1))
        if not self.selection.with_std:
            return outputs
        std = decoding.std(raw, units)
        return (*outputs, std if scale is None else std * scale)

    def _scores(self, logits: Tensor, quality: Tensor | None, boxes: Tensor) -> Tensor:
        """(B, N) scores, 0 for what is not a detection."""
        class_scores = logits.sigmoid()
        scores = self.decoding.scores(class_scores, quality)
        if self.decoding.changes_scores:
            scores = torch.where(class_scores > self.selection.class_threshold, scores, 0.0)
        if self.selection.min_size >= 0:
            large = ((boxes[..., 2:] - boxes[..., :2]) > self.selection.min_size).all(dim=-1)
            scores = torch.where(large, scores, 0.0)
        return scores


class DetectionNetwork(nn.Module):
    """The detections that NMS keeps, image after image.

    Args:
        detector: a single-stage detector in eval mode.
        selection: which boxes.

    Raises:
        ValueError: for a head that is not supported.
    """

    def __init__(self, detector: nn.Module, selection: Selection) -> None:
        super().__init__()
        self.network = BoxNetwork(detector, selection)
        self.selection = selection

    def forward(self, images: Tensor, sizes: Tensor, scale: Tensor | None = None) -> tuple[Tensor, ...]:
        """Detections.

        Args:
            images: as :class:`BoxNetwork`.
            sizes: as :class:`BoxNetwork`.
            scale: as :class:`BoxNetwork`.

        Returns:
            (D,) int64 image, (D, 4) boxes, (D,) scores, (D,) int64 labels and, if asked for, (D, 4) deviations.
        """
        boxes, scores, labels, *std = self.network(images, sizes, scale)
        scores = torch.where(scores > self.selection.score_threshold, scores, 0.0)
        apart = boxes if self.selection.class_agnostic else _apart_by_class(boxes, labels, scores > 0)
        kept = onnx_nms(apart, scores[:, None], self.selection.iou_threshold, self.selection.max_per_image)
        image, row = kept[:, 0], kept[:, 2]
        return image, *(values[image, row] for values in (boxes, scores, labels, *std))


def _apart_by_class(boxes: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
    """(B, N, 4) boxes shifted by class as mmcv shifts them, because the rounding decides overlaps.

    Coordinates are at least 0 once boxes are clipped, so boxes of different classes have no overlap.
    """
    largest = torch.where(counts[:, :, None], boxes, 0.0).amax(dim=(1, 2))
    return boxes + (labels.to(boxes) * (largest + 1)[:, None])[:, :, None]
