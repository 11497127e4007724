"""What the head of a detector is, and what it cannot say about the sides of its boxes."""

from __future__ import annotations

from torch import nn
from torch.utils.data import Dataset

from ...heads.box_intervals import OPTION
from ...heads.box_uncertainty import OPTIONS
from ...heads.prediction import DensePrediction
from ...structures.side_fields import BBOX_DISTRIBUTIONS, BBOX_STD
from ..side_errors import LoadedDetector

# Settings of test_cfg that are left out when the detector is built; the reported fields depend on the head alone.
REPLACED = (*OPTIONS, OPTION)


def head_of(model: nn.Module) -> nn.Module:
    """The part of a detector that gives its boxes.

    Args:
        model: the detector.

    Returns:
        The dense head, the last head of a second stage, or else the model.
    """
    second = getattr(getattr(model, "roi_head", None), "bbox_head", None)
    if isinstance(second, nn.ModuleList):  # a cascade
        second = second[-1]
    return second or getattr(model, "bbox_head", None) or model


def ask_for_sides(detector: LoadedDetector) -> None:
    """Let the results have all fields about sides that the head can give.

    Args:
        detector: the detector; its head is changed.
    """
    head = head_of(detector.model)
    if isinstance(head, DensePrediction):
        head.test_cfg.update({option: name in head.bbox_coder.side_fields for option, name in OPTIONS.items()})


def class_count(model: nn.Module, dataset: Dataset) -> int:
    """The number of classes of a detector.

    Args:
        model: the detector.
        dataset: the labelled images.

    Returns:
        That of its head; of the data, if the head does not say it.
    """
    return getattr(head_of(model), "num_classes", None) or len(dataset.metainfo.get("classes", ()))


def bins_of(model: nn.Module) -> tuple[float, ...] | None:
    """The bins of the sides.

    Args:
        model: the detector.

    Returns:
        Distances in strides; None without bins.
    """
    head = head_of(model)
    bins = head.bbox_coder.bins() if isinstance(head, DensePrediction) else None
    return None if bins is None else tuple(bins.tolist())


def description(model: nn.Module) -> str:
    """Describe the head in one line.

    Args:
        model: the detector.

    Returns:
        Type, quality, box coder.
    """
    head, bins = head_of(model), bins_of(model)
    parts = [type(head).__name__]
    if isinstance(head, DensePrediction):
        parts += [type(head.quality).__name__, type(head.bbox_coder).__name__]
    text = ", ".join(parts)
    return text if bins is None else f"{text} with {len(bins)} bins"


def missing_sides(model: nn.Module) -> tuple[str, ...]:
    """What the head cannot say about the sides of a box.

    Args:
        model: the detector.

    Returns:
        One sentence per missing part of a report.
    """
    head = head_of(model)
    if not isinstance(head, DensePrediction):
        package = type(head).__module__.partition(".")[0]
        return (
            f"The head is a {type(head).__name__} of {package}, which does not say how certain it is of the sides of a "
            "box. Their uncertainty needs a GFLHead of gfl_plugin: gfl-plugin swap CONFIG -o NEW.py writes a config "
            "with it. Labels are judged by margins in proportion to the size of the box.",
        )
    coder = head.bbox_coder
    if BBOX_STD not in coder.side_fields:
        return (
            f"Boxes of a {type(coder).__name__} have no uncertainty, which needs an IntegralBBoxCoder or a "
            "GaussianBBoxCoder. Labels are judged by margins in proportion to the size of the box.",
        )
    if BBOX_DISTRIBUTIONS not in coder.side_fields:
        return (f"Sides of a {type(coder).__name__} have no bins; they are shown as normal distributions.",)
    return ()
