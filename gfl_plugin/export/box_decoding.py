"""How the boxes of each supported head follow from its outputs, for selected places only."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.models.dense_heads import GFLHead as MMDetGFLHead
from mmdet.structures.bbox import distance2bbox, get_box_tensor
from torch import Tensor, nn

from ..coders import DistanceBBoxCoder
from ..heads.prediction import DensePrediction
from ..heads.qfl_heads import FCOSQFLHead, FoveaQFLHead, RetinaQFLHead, SSDQFLHead
from ..quality import QualityRepresentation
from ..structures.side_fields import BBOX_STD


class BoxDecoding:
    """Boxes of a head: the methods here are those of a head with points and a coder of distances in pixels.

    Args:
        head: the dense head.
    """

    def __init__(self, head: nn.Module) -> None:
        self.head = head
        self.generator = head.prior_generator
        self.strides: tuple[int, ...] = tuple(int(stride[0]) for stride in self.generator.strides)
        self.units: tuple[float, ...] = tuple(map(float, self.strides))  # of each level, passed to ``boxes``

    @property
    def offset(self) -> float:
        """Center of a level's first cell, in strides."""
        return float(self.generator.offset)

    @property
    def bins(self) -> tuple[float, ...] | None:
        """Bins of a side's distribution in strides, where sides have distributions."""
        return None

    @property
    def has_std(self) -> bool:
        """Whether boxes have standard deviations of their sides."""
        return False

    @property
    def changes_scores(self) -> bool:
        """Whether scores of detections differ from the class scores that select them."""
        return False

    def priors_per_cell(self, level: int) -> int:
        """A, the number of priors per cell.

        Args:
            level: index of the level.

        Returns:
            A.
        """
        return self.generator.num_base_priors[level]

    def priors(self, level: int, prior: Tensor | None, position: Tensor) -> Tensor:
        """What boxes are decoded from: points or prior boxes.

        Args:
            level: index of the level.
            prior: (B, K) index of a prior of its cell, int64; None for a single one.
            position: (B, K, 2) column and row of the cell, fp32.

        Returns:
            (B, K, 2) x, y, or (B, K, 4) x1, y1, x2, y2, in pixels.
        """
        return (position + self.offset) * self.strides[level]

    def boxes(self, priors: Tensor, raw: Tensor, unit: Tensor, sizes: Tensor) -> Tensor:
        """Decode boxes.

        Args:
            priors: (B, N, ...) what :meth:`priors` gave.
            raw: (B, N, D) numbers of the network.
            unit: (N,) the level's number of ``units``.
            sizes: (B, 2) height and width to which boxes are clipped, pixels.

        Returns:
            (B, N, 4) x1, y1, x2, y2 in pixels.
        """
        return get_box_tensor(self.head.bbox_coder.decode(priors, raw, max_shape=sizes))

    def std(self, raw: Tensor, unit: Tensor) -> Tensor:
        """Standard deviations of sides.

        Args:
            raw: as in :meth:`boxes`.
            unit: as in :meth:`boxes`.

        Returns:
            (B, N, 4) left, top, right, bottom, in pixels.

        Raises:
            ValueError: if boxes of this head have none.
        """
        raise ValueError(f"boxes of a {type(self.head).__name__} have no standard deviations")

    def scores(self, class_scores: Tensor, quality: Tensor | None) -> Tensor:
        """Scores of detections.

        Args:
            class_scores: (B, N) sigmoids of class logits.
            quality: (B, N, D) values of the quality maps, where the head has some.

        Returns:
            (B, N).
        """
        return class_scores


class GFLDecoding(BoxDecoding):
    """Boxes of this package's GFLHead, with any quality representation and box coder."""

    coder: DistanceBBoxCoder

    def __init__(self, head: nn.Module) -> None:
        super().__init__(head)
        self.coder = head.bbox_coder
        self._center = _centers(head.layout.base_priors)

    @property
    def offset(self) -> float:
        return float(self._center[0, 0]) / self.strides[0]

    @property
    def bins(self) -> tuple[float, ...] | None:
        bins = self.coder.bins()
        return None if bins is None else tuple(bins.tolist())

    @property
    def has_std(self) -> bool:
        return BBOX_STD in self.coder.side_fields

    @property
    def changes_scores(self) -> bool:
        return type(self.head.quality).score is not QualityRepresentation.score

    def priors(self, level: int, prior: Tensor | None, position: Tensor) -> Tensor:
        return self._center[level] + position * self.strides[level]

    def boxes(self, priors: Tensor, raw: Tensor, unit: Tensor, sizes: Tensor) -> Tensor:
        return get_box_tensor(self.coder.decode(priors, raw.float(), max_shape=sizes, stride=unit))

    def std(self, raw: Tensor, unit: Tensor) -> Tensor:
        if not self.has_std:
            return super().std(raw, unit)
        return self.coder.std(raw) * unit[:, None]

    def scores(self, class_scores: Tensor, quality: Tensor | None) -> Tensor:
        rows = None if quality is None else quality.flatten(0, 1)
        return self.head.quality.score(class_scores.flatten(), rows).view(class_scores.shape)


class MMDetGFLDecoding(BoxDecoding):
    """Boxes of MMDetection's GFLHead, which knows no bins but 0, 1, ..., n."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__(head)
        self._center = _centers([anchors[0].tolist() for anchors in self.generator.base_anchors])

    @property
    def offset(self) -> float:
        return float(self._center[0, 0]) / self.strides[0]

    @property
    def bins(self) -> tuple[float, ...] | None:
        return tuple(self.head.integral.project.tolist())

    def priors(self, level: int, prior: Tensor | None, position: Tensor) -> Tensor:
        return self._center[level] + position * self.strides[level]

    def boxes(self, priors: Tensor, raw: Tensor, unit: Tensor, sizes: Tensor) -> Tensor:
        distance = self.head.integral(raw.flatten(0, 1)).view(*raw.shape[:2], 4) * unit[:, None]
        return super().boxes(priors, distance, unit, sizes)


class AnchorDecoding(BoxDecoding):
    """Boxes of heads with several anchors per cell and MMDetection's DeltaXYWHBBoxCoder."""

    @property
    def offset(self) -> float:
        return float(self._anchors(0)[0, [0, 2]].mean()) / self.strides[0]

    def _anchors(self, level: int) -> Tensor:
        return self.generator.base_anchors[level].float()

    def priors(self, level: int, prior: Tensor | None, position: Tensor) -> Tensor:
        anchors = self._anchors(level)[0 if prior is None else prior]
        return anchors + (position * self.strides[level]).repeat(1, 1, 2)

    def boxes(self, priors: Tensor, raw: Tensor, unit: Tensor, sizes: Tensor) -> Tensor:
        # MMDetection decodes a batch by another formula, with boxes that end at the last pixel.
        flat = self.head.bbox_coder.decode(priors.flatten(0, 1), raw.flatten(0, 1))
        boxes = get_box_tensor(flat).view(raw.shape)
        return clipped(boxes, sizes) if self.head.bbox_coder.clip_border else boxes


class FoveaDecoding(BoxDecoding):
    """Boxes of FoveaHead, whose distances are in units of the level's base edge."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__(head)
        self.units = tuple(map(float, head.base_edge_list))

    def boxes(self, priors: Tensor, raw: Tensor, unit: Tensor, sizes: Tensor) -> Tensor:
        return distance2bbox(priors, raw.exp() * unit[:, None], sizes - 1)  # clipped to the last pixel, as there


# By class of the head; a subclass precedes its base.
DECODINGS: dict[type[nn.Module], type[BoxDecoding]] = {
    DensePrediction: GFLDecoding,
    RetinaQFLHead: AnchorDecoding,
    SSDQFLHead: AnchorDecoding,
    FoveaQFLHead: FoveaDecoding,
    FCOSQFLHead: BoxDecoding,
    MMDetGFLHead: MMDetGFLDecoding,
}


def decoding_of(head: nn.Module) -> BoxDecoding:
    """The decoding of a head's boxes.

    Args:
        head: the dense head.

    Returns:
        Its decoding.

    Raises:
        ValueError: for a head that is not supported.
    """
    for kind, decoding in DECODINGS.items():
        if isinstance(head, kind):
            return decoding(head)
    raise ValueError(
        f"bbox_head is a {type(head).__name__} of {type(head).__module__.partition('.')[0]}; gfl-plugin export takes "
        "gfl_plugin's GFLHead, RetinaQFLHead, SSDQFLHead, FoveaQFLHead and FCOSQFLHead, and MMDetection's GFLHead. "
        "gfl-plugin swap CONFIG -o NEW.py writes a config with one of them, which then has to be trained"
    )


def clipped(boxes: Tensor, sizes: Tensor) -> Tensor:
    """Clip boxes to their images.

    Args:
        boxes: (B, N, 4) x1, y1, x2, y2.
        sizes: (B, 2) height and width.

    Returns:
        (B, N, 4).
    """
    limit = sizes.to(boxes.dtype).flip(1).repeat(1, 2)[:, None]
    return torch.minimum(boxes.clamp(min=0), limit)


def _centers(boxes: Sequence[Sequence[float]]) -> Tensor:
    """(L, 2) centers of boxes, fp32."""
    return torch.tensor([[(x1 + x2) / 2, (y1 + y2) / 2] for x1, y1, x2, y2 in boxes], dtype=torch.float32)
