"""Replaces the head in a dense detector's config by a GFL head."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config, ConfigDict

from ..runtime.atomic_files import write_whole
from ..runtime.config_files import OURS, find_config
from .config_writer import as_code, base_name, with_type_names
from .dense_head import DENSE_HEADS
from .head_changes import chosen_range, swap_changes
from .side_range import SideRange

__all__ = ["DENSE_HEADS", "range_of_swap", "swap_config_file", "swap_head"]


def swap_head(cfg: Config, head: str = "gfl", **overrides) -> Config:
    """Copy a config with a GFL head, or with its own head trained with QFL.

    Detector, head, and the train and test settings of the model are replaced; data, schedule, backbone and neck are
    kept. If levels differ in channels, MMDetection's ChannelMapper is added after the neck. The new towers have the
    size of the old ones if GFL's towers can have it (a multiple of 32 channels, at most 4 convolutions), else 256
    channels and 4 convolutions. ``max_per_img``, which belongs to the evaluation of the dataset, is kept. ``reg_max``
    is the default, or larger where the default is too short for an object of the image's size; see ``side_range``.

    Args:
        cfg: of a single-stage dense detector of MMDetection; it is not changed.
        head: "gfl" for the GFL head; "gflv2" for the GFL head with GFLV2's quality; "best" for the combination of parts
            that was best on small data (docs/recipes.md); "qfl" for the old head trained with QFL, where there is one.
        **overrides: settings of the new head, merged into its config, such as ``reg_max=8``.

    Returns:
        The new config.

    Raises:
        ValueError: if the head of the config cannot be replaced; the message says why.

    Example:
        >>> cfg = swap_head(Config.fromfile("configs/retinanet/retinanet_r50_fpn_1x_coco.py"))
        >>> cfg.model.bbox_head.type
        'gfl_plugin.GFLHead'
    """
    swapped = cfg.copy()
    changes = swap_changes(cfg, head, overrides)
    # merge_from_dict removes `_delete_` from its argument, so it gets a copy.
    swapped.merge_from_dict(ConfigDict(changes).to_dict())
    return swapped


def swap_config_file(base: Path | str, out: Path, head: str = "gfl", **overrides) -> Path:
    """Write a config that inherits from a base and replaces its head.

    A text config cannot inherit from a new-style config (``read_base()``, imported types): such a base is written out
    completely, with its types as strings.

    Args:
        base: file of the base, or its name in MMDetection (``mmdet::retinanet/retinanet_r50_fpn_1x_coco.py``) or in
            this package (``gfl_plugin::gfl/gfl_r50_fpn_1x_coco.py``).
        out: the file to write.
        head: see :func:`swap_head`.
        **overrides: see :func:`swap_head`.

    Returns:
        ``out``.

    Raises:
        FileExistsError: if ``out`` exists; it is not overwritten.
        ConfigNotFoundError: if the base does not exist.
        ValueError: see :func:`swap_head`.
    """
    if out.exists():
        raise FileExistsError(f"{out} exists; remove it, or name another file")
    path = find_config(base).resolve()
    cfg = _read(path)
    if Config._is_lazy_import(str(path)):
        lines = []
        settings = with_type_names(swap_head(cfg, head, **overrides).to_dict())
    else:
        name = str(base) if str(base).startswith(OURS) else base_name(path, out)
        lines = [f"_base_ = {as_code(name)}"]
        settings = swap_changes(cfg, head, overrides)
    lines += [f"{key} = {as_code(value)}" for key, value in settings.items()]
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, "\n".join(lines) + "\n")
    return out


def range_of_swap(base: Path | str, head: str = "gfl", **overrides) -> SideRange | None:
    """Read from a base which range of side distributions :func:`swap_config_file` chooses for it, and why.

    Args:
        base: see :func:`swap_config_file`.
        head: see :func:`swap_head`.
        **overrides: see :func:`swap_head`.

    Returns:
        The choice; None if the new head has no bins, or ``overrides`` sets them.

    Raises:
        ConfigNotFoundError: if the base does not exist.
        ValueError: see :func:`swap_head`.
    """
    return chosen_range(_read(find_config(base)), head, overrides)


def _read(path: Path) -> Config:
    # Custom imports of a config (such as a backbone of another package) are not needed to read it.
    return Config.fromfile(path, import_custom_modules=False)
