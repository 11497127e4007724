"""What a config does with an image before the network, read from its data preprocessor and test pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmengine.config import Config
from torch import nn

from .model_description import RESIZE, InputDescription

# Transforms that do not change pixels.
_UNCHANGED = ("LoadImageFromFile", "LoadAnnotations", "PackDetInputs")


def input_of(model: nn.Module, cfg: Config, preprocessing: str) -> InputDescription:
    """How images become the network's input.

    Args:
        model: the detector.
        cfg: its config.
        preprocessing: the part that the file does, one of PREPROCESSING.

    Returns:
        The description. Transforms that it cannot express are left out, see :func:`unsupported_transforms`.

    Raises:
        ValueError: if the file is to resize images, and the config does that in a way that it cannot.
    """
    own = model.data_preprocessor
    size, keep_ratio = None, True
    try:
        size, keep_ratio = _resize_of(test_pipeline(cfg))
    except ValueError:
        if preprocessing == RESIZE:
            raise
    wrong = unsupported_transforms(cfg)
    if wrong and preprocessing == RESIZE:
        raise ValueError(
            f"--preprocess resize: the test pipeline has {', '.join(wrong)}, which a file cannot do yet; use "
            "--preprocess none, and prepare the images as the pipeline does"
        )
    normalized = getattr(own, "_enable_normalize", False)
    return InputDescription(
        preprocessing=preprocessing,
        mean=tuple(own.mean.flatten().tolist()) if normalized else (0.0, 0.0, 0.0),
        std=tuple(own.std.flatten().tolist()) if normalized else (1.0, 1.0, 1.0),
        # MMDetection reads images as BGR.
        channels="rgb" if getattr(own, "_channel_conversion", False) else "bgr",
        size=size,
        keep_ratio=keep_ratio,
        pad_divisor=int(getattr(own, "pad_size_divisor", 1)),
        pad_value=float(getattr(own, "pad_value", 0)),
    )


def test_pipeline(cfg: Config) -> Sequence[Mapping]:
    """The transforms of test images.

    Args:
        cfg: the config.

    Returns:
        Those of the test data, or else of the validation data; [] if the config has none.
    """
    for name in ("test_dataloader", "val_dataloader"):
        dataset = (cfg.get(name) or {}).get("dataset") or {}
        while "dataset" in dataset and "pipeline" not in dataset:  # a wrapper
            dataset = dataset["dataset"]
        if dataset.get("pipeline"):
            return dataset["pipeline"]
    return cfg.get("test_pipeline") or []


def unsupported_transforms(cfg: Config) -> list[str]:
    """Transforms of test images that a description cannot express.

    Args:
        cfg: the config.

    Returns:
        Their names.
    """
    names = [_name(transform) for transform in test_pipeline(cfg)]
    wrong = [name for name in names if name not in (*_UNCHANGED, "Resize")]
    try:
        _resize_of(test_pipeline(cfg))
    except ValueError:
        wrong.append("Resize")
    return wrong


def _resize_of(pipeline: Sequence[Mapping]) -> tuple[tuple[int, int] | None, bool]:
    """Size (width, height) that images are resized to, None for their own, and whether the ratio is kept."""
    found = [transform for transform in pipeline if _name(transform) == "Resize"]
    if not found:
        return None, True
    settings = found[0]
    scale, factor = settings.get("scale"), settings.get("scale_factor")
    plain = settings.get("interpolation", "bilinear") == "bilinear" and settings.get("backend", "cv2") == "cv2"
    if len(found) == 1 and plain and scale is None and factor in (1, 1.0, (1, 1), [1, 1]):
        return None, True
    if isinstance(scale, int):
        scale = (scale, scale)
    if len(found) > 1 or not plain or scale is None or len(scale) != 2 or any(not _is_side(side) for side in scale):
        raise ValueError(
            f"--preprocess resize: the test pipeline has {', '.join(map(_written, found))}; a file can do one "
            "Resize(scale=(width, height)) with bilinear interpolation"
        )
    return (int(scale[0]), int(scale[1])), bool(settings.get("keep_ratio", False))


def _name(transform: Mapping) -> str:
    kind = transform["type"]
    return kind.__name__ if isinstance(kind, type) else str(kind).rpartition(".")[2]


def _written(transform: Mapping) -> str:
    settings = ", ".join(f"{name}={value!r}" for name, value in transform.items() if name != "type")
    return f"{_name(transform)}({settings})"


def _is_side(value: object) -> bool:
    return isinstance(value, (int, float)) and value > 0 and value == int(value)
