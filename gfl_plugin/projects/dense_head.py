"""Reads from a config what a replacement of its dense head must keep: strides, channels and number of classes."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass

from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict

# MMDetection's heads that predict boxes and classes, and nothing else, from a feature pyramid.
DENSE_HEADS = (
    "ATSSHead", "AutoAssignHead", "CenterNetUpdateHead", "DDODHead", "FCOSHead", "FSAFHead", "FoveaHead",
    "FreeAnchorRetinaHead", "GARetinaHead", "GFLHead", "NASFCOSHead", "PAAHead", "PISARetinaHead", "PISASSDHead",
    "RTMDetHead", "RTMDetSepBNHead", "RepPointsHead", "RetinaHead", "RetinaSepBNHead", "SABLRetinaHead", "SSDHead",
    "TOODHead", "VFNetHead", "YOLOFHead", "YOLOXHead",
)  # fmt: skip
# Channels for levels of different widths, and towers of GFL's default head.
DEFAULT_CHANNELS, DEFAULT_CONVS = 256, 4
_GROUPS = 32  # of group norm in the towers


@dataclass(frozen=True)
class Pyramid:
    """The feature pyramid of a dense head, and the size of the towers of its replacement."""

    strides: tuple[int, ...]  # pixels, one per level
    channels: tuple[int, ...]  # one per level
    num_classes: int
    feat_channels: int  # channels of the new head's towers
    stacked_convs: int  # convolutions of the new head's towers


def dense_head(cfg: Config) -> ConfigDict:
    """Find the dense head of a config.

    Args:
        cfg: of a detector.

    Returns:
        The settings of its head.

    Raises:
        ValueError: if the detector has no dense head that can be replaced; the message says why.
    """
    model = cfg.get("model")
    if model is None:
        raise ValueError(f"{cfg.filename or 'the config'} has no model; pass the config of a detector")
    for key, name in (("rpn_head", "proposals"), ("roi_head", "a second stage"), ("mask_head", "masks")):
        if model.get(key):
            raise ValueError(
                f"{model.type} has {name} ({key}), which a GFL head cannot replace; only single-stage detectors of "
                "boxes can be swapped"
            )
    head = model.get("bbox_head")
    if not isinstance(head, dict):
        raise ValueError(f"{model.type} has no dense head (bbox_head) to replace")
    kind = class_name(head.type)
    if kind not in DENSE_HEADS:
        raise ValueError(
            f"the head of {model.type} is a {kind}, which does not predict only boxes and classes from a feature "
            f"pyramid; heads that can be replaced: {', '.join(DENSE_HEADS)}"
        )
    return head


def class_name(kind: object) -> str:
    """Remove the scope from the name of a class.

    Args:
        kind: a class, or its name in a config.

    Returns:
        The name.
    """
    return kind.__name__ if isinstance(kind, type) else str(kind).split(".")[-1]


def pyramid_of(head: ConfigDict) -> Pyramid:
    """Read the feature pyramid of a head.

    The new towers get the size of the old ones if GFL's towers can have it (a multiple of 32 channels, at most 4
    convolutions), else 256 channels and 4 convolutions.

    Args:
        head: settings of a dense head.

    Returns:
        The pyramid.

    Raises:
        ValueError: if a setting is missing, or strides are not square.
    """
    strides = strides_of(head)
    in_channels = _setting(head, "in_channels")
    channels = (in_channels,) * len(strides) if isinstance(in_channels, int) else tuple(in_channels)
    if len(channels) != len(strides):
        raise ValueError(
            f"{head.type} has {len(channels)} in_channels {channels} for {len(strides)} strides {strides}; write one "
            "number, or one per stride"
        )
    feat_channels, stacked_convs = head.get("feat_channels"), head.get("stacked_convs")
    fits = isinstance(feat_channels, int) and feat_channels % _GROUPS == 0
    return Pyramid(
        strides=strides,
        channels=channels,
        num_classes=_setting(head, "num_classes"),
        feat_channels=feat_channels if fits else DEFAULT_CHANNELS,
        stacked_convs=(
            stacked_convs if isinstance(stacked_convs, int) and stacked_convs <= DEFAULT_CONVS else DEFAULT_CONVS
        ),
    )


def strides_of(head: ConfigDict) -> tuple[int, ...]:
    """Read the distances of neighboring locations, from any of the settings that heads keep them in.

    Args:
        head: settings of a dense head.

    Returns:
        Pixels, one per level.

    Raises:
        ValueError: if there are none, or they differ in x and y.
    """
    for generator in ("anchor_generator", "square_anchor_generator"):
        found = (head.get(generator) or {}).get("strides")
        if found:
            break
    else:
        found = head.get("strides") or head.get("point_strides") or _default(head, "strides")
    if not found:
        raise ValueError(f"{head.type} has no strides in its config; write them into bbox_head")
    return tuple(_square(stride) for stride in found)


def _square(stride: int | Sequence[int]) -> int:
    if isinstance(stride, int):
        return stride
    width, height = stride
    if width != height:
        raise ValueError(f"a stride is {tuple(stride)}; GFL needs equal strides in x and y")
    return width


def _setting(head: ConfigDict, name: str) -> object:
    value = head.get(name, _default(head, name))
    if value is None:
        raise ValueError(f"{head.type} has no {name} in its config; write it into bbox_head")
    return value


def _default(head: ConfigDict, name: str) -> object:
    """The default value of an argument of the head's class, or of a class that it inherits from."""
    kind = head.type if isinstance(head.type, type) else MODELS.get(class_name(head.type))
    for parent in inspect.getmro(kind) if kind else ():
        parameter = inspect.signature(parent.__init__).parameters.get(name)
        if parameter is not None and parameter.default is not inspect.Parameter.empty:
            return parameter.default
    return None
