"""What an exported file says about itself, so that it can be run without its config."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

KEY = "gfl_plugin"  # of the ONNX file's metadata; its value is JSON
FORMAT = 1  # version of that JSON; a change that old readers cannot read increases it

# The forms of a file, see docs/export.md.
RAW, BOXES, NMS = "raw", "boxes", "nms"
CONTRACTS = (RAW, BOXES, NMS)
# What happens inside the file before the network: nothing; normalization and padding; resizing as well.
NO_PREPROCESSING, NORMALIZE, RESIZE = "none", "normalize", "resize"
PREPROCESSING = (NO_PREPROCESSING, NORMALIZE, RESIZE)


@dataclass(frozen=True)
class InputDescription:
    """How images become the network's input."""

    preprocessing: str  # one of PREPROCESSING: the part that the file does itself
    mean: tuple[float, ...]  # (3,) subtracted, in the network's order of channels, scale 0 to 255
    std: tuple[float, ...]  # (3,) divided by afterwards
    channels: str  # order of the network's channels: "rgb" or "bgr"
    size: tuple[int, int] | None  # (width, height) that images are resized to, pixels; None: not resized
    keep_ratio: bool  # whether the ratio of width and height is kept: images then fit into `size`
    pad_divisor: int  # height and width are padded at the right and bottom to a multiple of it, pixels
    pad_value: float  # of these pixels, after normalization: 0 as in MMDetection


@dataclass(frozen=True)
class ModelDescription:
    """Meaning of an exported file's inputs and outputs. Lengths are pixels of the network's input."""

    contract: str  # one of CONTRACTS
    model: str  # type of the detector and of its head
    classes: tuple[str, ...]  # (C,)
    input: InputDescription
    strides: tuple[int, ...]  # (L,) pixels per cell of each level
    offset: float  # center of a level's first cell, in strides: 0 or 0.5
    bins: tuple[float, ...] | None  # (n+1,) of a side's distribution, in strides; None for other sides
    with_std: bool  # whether boxes have the standard deviations of their sides
    score_threshold: float  # scores must be above it
    topk: int  # class scores per level that are decoded
    iou_threshold: float  # of NMS
    class_agnostic: bool  # whether boxes of different classes suppress each other in NMS
    max_per_image: int  # detections per image after NMS
    weights_hash: str  # SHA-256 of the weights
    version: str  # of gfl_plugin
    format: int = FORMAT
    # Boxes whose width or height, in pixels of the original image, is not above it are left out; negative: none.
    min_box_size: float = -1.0

    def to_json(self) -> str:
        """The description as JSON, which :meth:`from_json` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ModelDescription:
        """Read a description.

        Args:
            text: what :meth:`to_json` returned.

        Returns:
            The description.

        Raises:
            ValueError: if the text is not a description, or of a newer format.
        """
        try:
            values = json.loads(text)
            if values["format"] > FORMAT:
                raise ValueError(
                    f"the file has format {values['format']} of gfl_plugin {values.get('version')}, this version "
                    f"reads formats up to {FORMAT}: install a newer gfl_plugin"
                )
            return cls(**{**_tuples(values), "input": InputDescription(**_tuples(values["input"]))})
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"the metadata {KEY!r} is not a description of gfl_plugin: {error}") from error


def _tuples(values: Mapping[str, object]) -> dict[str, object]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
