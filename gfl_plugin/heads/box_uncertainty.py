"""Fields of results about the distributions of box sides: which ones a config asks for, and their values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..coders import DistanceBBoxCoder
from ..registry import TASK_UTILS
from ..structures.detections import Detections
from ..structures.side_fields import BBOX_DISTRIBUTIONS, BBOX_POINTS, BBOX_STD, scaled_fields

# Of test_cfg, with the fields of the coder that they need.
OPTIONS = {"with_uncertainty": BBOX_STD, "with_distributions": BBOX_DISTRIBUTIONS}
_ROW = "row"  # of the decoded boxes, kept with each detection until its fields are computed


def side_fields_of(test_cfg: Mapping | None, coder: DistanceBBoxCoder) -> tuple[str, ...]:
    """The fields that the test settings ask for.

    Args:
        test_cfg: ``with_uncertainty`` for ``bbox_std``, ``with_distributions`` for ``bbox_distributions`` and
            ``bbox_points``; both False by default.
        coder: the head's box coder.

    Returns:
        Names of fields.

    Raises:
        ValueError: for a field that boxes of this coder do not have, or a setting that is not a bool.
    """
    names = []
    for option, name in OPTIONS.items():
        value = (test_cfg or {}).get(option, False)
        if not isinstance(value, bool):
            raise ValueError(f"test_cfg.{option} is {value!r}; it must be True or False")
        if value and name not in coder.side_fields:
            raise ValueError(
                f"test_cfg.{option}=True asks for {name}, which boxes of a {type(coder).__name__} do not have; set "
                f"bbox_coder to one of those that have it ({', '.join(coders_with(name))}), or leave {option} out"
            )
        if value:
            names.append(name)
    if BBOX_DISTRIBUTIONS in names:
        names.append(BBOX_POINTS)  # without it, nobody knows where on the image the bins lie
    return tuple(names)


def coders_with(name: str) -> list[str]:
    """The box coders of this package whose boxes have a field.

    Args:
        name: of the field.

    Returns:
        Names of classes, sorted.
    """
    return sorted(
        kind
        for kind, found in TASK_UTILS.module_dict.items()
        if issubclass(found, DistanceBBoxCoder) and name in found.side_fields
    )


@dataclass(frozen=True)
class Decoded:
    """Detections with the numbers that they were decoded from."""

    detections: Detections  # N, in pixels of the network's input
    raw: Tensor  # (N, encode_size) fp32
    points: Tensor  # (N, 2) x, y of the locations in pixels of the network's input, fp32
    stride: Tensor  # (N,) pixels of the network's input, fp32

    def side_fields(self, names: Sequence[str], coder: DistanceBBoxCoder, rows: Tensor | slice) -> dict[str, Tensor]:
        """Fields about the sides of some of the boxes.

        Args:
            names: of the fields.
            coder: the box coder.
            rows: (M,) int64, or a slice.

        Returns:
            By name, (M, ...) each; ``bbox_std`` and ``bbox_points`` in pixels of the network's input.
        """
        raw, stride, values = self.raw[rows], self.stride[rows][:, None], {}
        if BBOX_STD in names:
            values[BBOX_STD] = coder.std(raw) * stride
        if BBOX_DISTRIBUTIONS in names:
            values[BBOX_DISTRIBUTIONS] = coder.distribution(raw)
        if BBOX_POINTS in names:
            values[BBOX_POINTS] = torch.cat([self.points[rows], stride, stride], dim=1)
        return values

    def with_rows(self) -> Detections:
        """The detections, each with its row, which :meth:`fields_of` needs."""
        rows = torch.arange(len(self.detections), device=self.raw.device)
        return replace(self.detections, extra={**self.detections.extra, _ROW: rows})

    def fields_of(
        self, kept: Detections, names: Sequence[str], coder: DistanceBBoxCoder, scales: Tensor | None
    ) -> dict[str, Tensor]:
        """Fields of the detections that are kept. Computing them for all would take a multiple of the time.

        Args:
            kept: M rows of :meth:`with_rows`, of all images.
            names: of the fields.
            coder: the box coder.
            scales: (B, 4) output pixels per pixel of the network's input along x, y, x, y; None for 1.

        Returns:
            By name, (M, ...) each.
        """
        if not names:
            return {}
        values = self.side_fields(names, coder, kept.extra[_ROW])
        return values if scales is None else scaled_fields(values, scales[kept.image])


def with_fields(kept: Sequence[Detections], values: Mapping[str, Tensor]) -> list[Detections]:
    """Add fields to detections.

    Args:
        kept: of each image, rows of :meth:`Decoded.with_rows`, or without rows.
        values: by name, (M, ...) each, for all images one after another.

    Returns:
        The same detections with the fields, and without rows.
    """
    counts = [len(own) for own in kept]
    parts = {name: value.split(counts) for name, value in values.items()}
    return [
        replace(
            own,
            extra={name: value for name, value in own.extra.items() if name != _ROW}
            | {name: part[number] for name, part in parts.items()},
        )
        for number, own in enumerate(kept)
    ]
