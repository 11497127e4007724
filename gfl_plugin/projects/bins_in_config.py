"""Reads and writes the bins of GFL heads in a config."""

from __future__ import annotations

from collections.abc import Iterator

from mmengine.config import Config, ConfigDict

from .dense_head import class_name
from .wider_bins import Bins, shortest, spacing

_HEAD, _CODER = "gfl_plugin.GFLHead", "gfl_plugin.IntegralBBoxCoder"
_IMPORTS = ("gfl_plugin",)
_BIN_SETTINGS = ("reg_max", "first", "step", "bins")


def gfl_heads(cfg: Config) -> list[ConfigDict]:
    """Find the GFL heads of a config, also those of a detector within a detector (``model.detector``).

    Args:
        cfg: of a detector.

    Returns:
        The settings of each head; they can be changed in place.
    """
    return [head for head in _heads(cfg.get("model")) if "reg_max" in head or _is_gfl(class_name(head.get("type")))]


def bin_settings(head: ConfigDict, bins: Bins) -> dict:
    """The settings of a head that give it bins, for a config that inherits from the head's.

    Args:
        head: settings of a GFL head; not changed.
        bins: in strides.

    Returns:
        ``reg_max``; also ``bbox_coder`` for other bins than 0, 1, ..., n, and ``type`` where only this package's head
        has such bins. MMEngine's ``_delete_`` stands in ``bbox_coder`` if its old bins must not be inherited.
    """
    old = head.get("bbox_coder")
    old = old if isinstance(old, dict) else {}
    coder = {key: value for key, value in old.items() if key not in _BIN_SETTINGS}
    had_bins = len(coder) < len(old)
    settings: dict = {"reg_max": len(bins) - 1}
    given = _coder_bins(bins)
    if given:
        if class_name(head.get("type")) == "GFLHead":
            settings["type"] = _HEAD
        if class_name(coder.get("type", "")) in ("", "DistancePointBBoxCoder"):
            coder["type"] = _CODER
    if given or had_bins:
        settings["bbox_coder"] = {**({"_delete_": True} if had_bins else {}), **coder, **given}
    return settings


def set_bins(cfg: Config, head: ConfigDict, bins: Bins) -> None:
    """Write bins into a head of a config.

    Args:
        cfg: of a detector; this package is added to its imports if the head becomes one of this package.
        head: one of its :func:`gfl_heads`; changed in place.
        bins: in strides.
    """
    settings = bin_settings(head, bins)
    settings.get("bbox_coder", {}).pop("_delete_", None)
    if settings.get("type", head.get("type")) != head.get("type"):
        imports = list(cfg.get("custom_imports", {}).get("imports", []))
        imports += [name for name in _IMPORTS if name not in imports]
        cfg.custom_imports = dict(imports=imports, allow_failed_imports=False)
    for key, value in settings.items():  # ``update`` of MMEngine's dicts would keep old entries of bbox_coder
        head[key] = value


def _coder_bins(bins: Bins) -> dict:
    """The settings of IntegralBBoxCoder that differ from its default: 0, 1, ..., n."""
    step = spacing(bins)
    if step is None:
        return {"bins": list(bins)}
    first = shortest(bins[0])
    return {**({"first": first} if first else {}), **({"step": step} if step != 1.0 else {})}


def _is_gfl(name: str) -> bool:
    return "GFL" in name or name == "LDHead"


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
