"""Reads and writes the bins of GFL heads in a config."""

from __future__ import annotations

from collections.abc import Iterator

from mmengine.config import Config, ConfigDict

from .dense_head import class_name
from .wider_bins import Bins, spacing

_HEAD, _CODER = "gfl_plugin.GFLHead", "gfl_plugin.IntegralBBoxCoder"
_BIN_SETTINGS = ("reg_max", "first", "step", "bins")


def gfl_heads(cfg: Config) -> list[ConfigDict]:
    """Find the GFL heads of a config, also those of a detector within a detector (``model.detector``).

    Args:
        cfg: of a detector.

    Returns:
        The settings of each head; they can be changed in place.
    """
    return [
        head for head in _heads(cfg.get("model") or {}) if "GFL" in class_name(head.get("type")) or "reg_max" in head
    ]


def bin_settings(head: ConfigDict, bins: Bins) -> dict:
    """The settings of a head that give it bins.

    Args:
        head: settings of a GFL head; not changed.
        bins: in strides.

    Returns:
        ``reg_max`` for 0, 1, ..., n; also ``bbox_coder``, and ``type`` where only this package's head has such bins.
    """
    step, first = spacing(bins), bins[0]
    coder = {key: value for key, value in (head.get("bbox_coder") or {}).items() if key not in _BIN_SETTINGS}
    had_bins = any(key in (head.get("bbox_coder") or {}) for key in _BIN_SETTINGS)
    if step is None:
        given: dict = {"bins": list(bins)}
    else:
        given = {**({"first": first} if first else {}), **({"step": step} if step != 1.0 else {})}
    settings: dict = {} if step is None else {"reg_max": len(bins) - 1}
    if given:
        if class_name(head.get("type")) == "GFLHead":
            settings["type"] = _HEAD
        if class_name(coder.get("type", "")) in ("", "DistancePointBBoxCoder"):
            coder["type"] = _CODER
    if given or had_bins:
        settings["bbox_coder"] = {**coder, **given}
    return settings


def set_bins(cfg: Config, head: ConfigDict, bins: Bins) -> None:
    """Write bins into a head of a config.

    Args:
        cfg: of a detector; this package is added to its imports if the head becomes one of this package.
        head: one of its :func:`gfl_heads`; changed in place.
        bins: in strides.
    """
    settings = bin_settings(head, bins)
    if "reg_max" not in settings:
        head.pop("reg_max", None)
    if settings.get("type", head.get("type")) != head.get("type"):
        imports = list(cfg.get("custom_imports", {}).get("imports", []))
        cfg.custom_imports = dict(imports=[*imports, "gfl_plugin"], allow_failed_imports=False)
    head.update(settings)


def _heads(settings: object) -> Iterator[ConfigDict]:
    """All dicts under the key ``bbox_head``."""
    if isinstance(settings, dict):
        for key, value in settings.items():
            if key == "bbox_head" and isinstance(value, dict):
                yield value
            else:
                yield from _heads(value)
    elif isinstance(settings, (list, tuple)):
        for value in settings:
            yield from _heads(value)
