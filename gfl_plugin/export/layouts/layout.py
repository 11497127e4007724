"""Everything that is needed to run an ONNX file and to turn its outputs into boxes with distributions of sides."""

from __future__ import annotations

from dataclasses import dataclass

# Orders of the bins among the channels of the sides: bins of left, then of top, ...; or first bins of all sides, ...
SIDE_MAJOR, BIN_MAJOR = "side_major", "bin_major"
# What numbers in the file are: before or after the sigmoid of scores, and the softmax of sides.
LOGITS, PROBABILITIES = "logits", "probabilities"
# How an image gets the size of the input.
STRETCH, PAD, LETTERBOX = "stretch", "pad", "letterbox"


@dataclass(frozen=True)
class InputLayout:
    """How an image becomes the network's input."""

    name: str  # of the input
    batch: int  # images per run; the same image is repeated
    channels_first: bool  # (B, 3, H, W), or (B, H, W, 3)
    dtype: str  # of NumPy: "float32", "float16" or "uint8"
    inside: str  # what happens in the file: nothing, normalization and padding, or resizing as well (PREPROCESSING)
    size: tuple[int, int] | None  # (width, height) to which images are resized, pixels; None: not resized
    size_divisor: int | None  # width and height are padded to a multiple of it; None: to ``size``
    either_orientation: bool  # whether ``size`` may also be taken as (height, width), as MMDetection does
    resize: str  # STRETCH, PAD (at the right and bottom) or LETTERBOX (on both sides)
    interpolation: str  # "bilinear" or "bicubic"
    color: str  # order of the channels: "rgb" or "bgr"
    mean: tuple[float, ...]  # (3,) subtracted, in the order of the channels, scale 0 to 255
    std: tuple[float, ...]  # (3,) divided by afterwards
    pad_value: tuple[float, ...]  # (3,) of added pixels before normalization, in the order of the channels
    sizes_name: str | None  # input for (1, 2) int64 height and width of the image without added pixels
    constants: tuple[tuple[str, tuple], ...]  # names and values of all other inputs


@dataclass(frozen=True)
class Part:
    """Channels of an output."""

    output: str  # name of the output
    axis: int  # of the channels: 1 or the last
    first: int  # channel
    count: int  # of channels


@dataclass(frozen=True)
class Layout:
    """Meaning of a file's input and outputs. Lengths are pixels of the network's input."""

    name: str  # of the layout: one that comes along, or a path
    input: InputLayout
    scores: tuple[Part, ...]  # C class scores per location: one part per level, or one part for all levels
    sides: tuple[Part, ...]  # 4 * (n+1) channels per location, likewise
    quality: tuple[Part, ...]  # logits of a factor of the scores, one channel; none in most networks
    scores_are: str  # LOGITS or PROBABILITIES
    sides_are: str  # likewise
    bin_order: str  # SIDE_MAJOR or BIN_MAJOR
    bins: tuple[float, ...]  # (n+1,) distances in strides
    strides: tuple[int, ...]  # (L,) in the order of the levels
    offset: float  # center of a level's first cell, in strides
    class_count: int  # C
    classes: tuple[str, ...] | None  # (C,) names; None if neither the layout nor the file says them
    score_threshold: float  # scores must be above it
    topk: int | None  # class scores per level that are decoded; None for all above the threshold
    iou_threshold: float  # of NMS
    class_agnostic: bool  # whether boxes of different classes suppress each other
    max_per_image: int  # detections after NMS
    min_box_size: float = 0.0  # width and height of boxes, in pixels of the image, must be above it

    def summary(self) -> str:
        """The layout in one line, for people who want to check it.

        Returns:
            What the layout and the file together say.
        """
        size = "any size" if self.input.size is None else "{} x {}".format(*self.input.size)
        steps = {round(b - a, 9) for a, b in zip(self.bins, self.bins[1:])}
        bins = f"{len(self.bins)} bins from {self.bins[0]:g} to {self.bins[-1]:g} strides"
        return (
            f"{self.class_count} class{'es' if self.class_count > 1 else ''} ({self.scores_are}), {bins}"
            f"{'' if len(steps) == 1 else ' at unequal steps'} ({self.sides_are}), strides "
            f"{', '.join(map(str, self.strides))}, centers at (x + {self.offset:g}) * stride, input {size} "
            f"{self.input.color}, {self.input.resize}"
        )
