"""The layout of a file that this package has exported with the outputs of the head, from the file's own description."""

from __future__ import annotations

from ..model_description import NO_PREPROCESSING, ModelDescription
from .layout import LOGITS, PAD, SIDE_MAJOR, STRETCH, InputLayout, Layout, Part
from .onnx_file import OnnxFile


def described_layout(file: OnnxFile, description: ModelDescription) -> Layout:
    """Make the layout of a file of the contract "raw".

    Args:
        file: the file.
        description: in the file.

    Returns:
        The layout.

    Raises:
        ValueError: if its sides are not distributions.
    """
    if description.bins is None:
        raise ValueError(
            f"{file.path} has outputs of the contract 'raw' whose sides have no bins, and only distributions can be "
            "decoded: export it with the contract 'boxes'"
        )
    outputs = {one.name for one in file.outputs}
    levels = range(len(description.strides))
    classes, bins = len(description.classes), len(description.bins)
    return Layout(
        name=str(file.path),
        input=_input(description, any(one.name == "sizes" for one in file.inputs)),
        scores=tuple(Part(f"scores_{level}", 1, 0, classes) for level in levels),
        sides=tuple(Part(f"sides_{level}", 1, 0, 4 * bins) for level in levels),
        quality=tuple(Part(f"quality_{level}", 1, 0, 1) for level in levels if f"quality_{level}" in outputs),
        scores_are=LOGITS,
        sides_are=LOGITS,
        bin_order=SIDE_MAJOR,
        bins=description.bins,
        strides=description.strides,
        offset=description.offset,
        class_count=classes,
        classes=description.classes,
        score_threshold=description.score_threshold,
        topk=description.topk if description.topk > 0 else None,
        iou_threshold=description.iou_threshold,
        class_agnostic=description.class_agnostic,
        max_per_image=description.max_per_image,
        min_box_size=description.min_box_size,
    )


def _input(description: ModelDescription, sizes: bool) -> InputLayout:
    own = description.input
    none = own.preprocessing == NO_PREPROCESSING
    return InputLayout(
        name="images",
        batch=1,
        channels_first=none,
        dtype="float32" if none else "uint8",
        inside=own.preprocessing,
        size=own.size,
        size_divisor=own.pad_divisor,
        either_orientation=own.keep_ratio,
        resize=PAD if own.keep_ratio else STRETCH,
        interpolation="bilinear",
        color=own.channels,
        mean=own.mean,
        std=own.std,
        pad_value=tuple(own.pad_value * std + mean for mean, std in zip(own.mean, own.std)),
        sizes_name="sizes" if sizes else None,
        constants=(),
    )
