"""Writes a checkpoint whose GFL head has more bins and the same outputs."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict
from torch import Tensor

from ..heads.gfl_defaults import STRIDES
from ..runtime import config_text, published_weights
from ..runtime.atomic_files import write_whole
from ..runtime.checkpoints import read
from ..runtime.config_files import find_config
from .bins_in_config import bin_settings, gfl_heads, set_bins
from .dense_head import strides_of
from .widen_head import WidenedHead, bins_of, head_prefixes, scales_of, widen_head
from .wider_bins import requested_bins

_WEIGHTS = ("state_dict", "ema_state_dict")


@dataclass(frozen=True)
class WidenedCheckpoint:
    """A written checkpoint."""

    path: Path
    heads: tuple[WidenedHead, ...]  # of the model, then of its moving average
    strides: tuple[int, ...]  # pixels per level
    settings: dict  # of bbox_head in the config
    notes: tuple[str, ...]  # what the user should know


def widen_checkpoint(
    checkpoint: Path,
    out: Path,
    reg_max: int | None = None,
    first: float | None = None,
    step: float | None = None,
    bins: Sequence[float] | None = None,
    add: Sequence[float] | None = None,
    config: Path | str | None = None,
) -> WidenedCheckpoint:
    """Write a copy of a checkpoint whose GFL head has more bins, and the same outputs to 0.001 px.

    Weights (also of EMAHook's moving average) and ``meta`` are kept, with the new bins in the config that ``meta``
    holds. Optimizer, schedulers and the other state of the training are left out, because they belong to the old
    shapes: start the next training with ``load_from``.

    Args:
        checkpoint: the file.
        out: the file to write.
        reg_max: index of the last new bin; ``first`` and ``step`` stay as they are if not given.
        first: the first new bin, in strides.
        step: the new spacing, in strides.
        bins: all new bins in strides, instead of ``reg_max``.
        add: bins in strides to add to the old ones, instead of ``reg_max``.
        config: of the checkpoint's training, for its strides; None for the config in the checkpoint.

    Returns:
        What was written.

    Raises:
        CheckpointError: if the file is not a checkpoint.
        FileExistsError: if ``out`` exists.
        FileNotFoundError: if the checkpoint, the config or the folder of ``out`` does not exist.
        ValueError: if the checkpoint has no GFL head, or its outputs cannot be kept with these bins; the message says
            what can be done.
    """
    _check_out(out)
    content = read(checkpoint, "cpu")
    whole = isinstance(content.get("state_dict"), Mapping)
    parts = {key: content[key] for key in _WEIGHTS if isinstance(content.get(key), Mapping)} if whole else {"": content}
    main = next(iter(parts.values()))
    prefix = head_prefixes(main)[0]
    new_bins = requested_bins(bins_of(main, prefix), reg_max, first, step, bins, add)
    cfg, notes = _config_of(content.get("meta") if whole else None)
    used = Config.fromfile(find_config(config), import_custom_modules=False) if config is not None else cfg
    if used is None:
        notes.append("the checkpoint contains no config that can be read; change the config of its training")
    base = next(iter(gfl_heads(used) if used is not None else []), ConfigDict(type="gfl_plugin.GFLHead"))
    settings = bin_settings(base, new_bins)
    strides = _strides(used, len(scales_of(main, prefix)))

    widened = {key: _widened(part, new_bins, strides) for key, part in parts.items()}
    if whole:
        new_content = {key: value for key, (value, _) in widened.items()}
        if "meta" in content:
            new_content = {"meta": _with_bins(content["meta"] or {}, cfg, new_bins), **new_content}
        left_out = [key for key in content if key not in new_content]
        if left_out:
            notes.append(
                f"left out {', '.join(left_out)}: this state belongs to the old training; start the new one with "
                "load_from, not with --resume"
            )
    else:
        new_content = widened[""][0]
    buffer = io.BytesIO()
    torch.save(new_content, buffer)
    write_whole(out, buffer.getvalue())
    heads = tuple(head for _, found in widened.values() for head in found)
    notes += [
        f"{head.prefix}reg_conf is kept: the probabilities that it reads change by less than {head.new_probability:.0e}"
        for head in heads
        if head.has_statistics
    ]
    return WidenedCheckpoint(out, heads, strides, settings, tuple(notes))


def _check_out(out: Path) -> None:
    if out.suffix == published_weights.SUFFIX:
        raise ValueError(f"{out}: a PyTorch file is written; name a .pth file, then run: gfl-plugin publish FILE")
    if out.exists():
        raise FileExistsError(f"{out} exists; remove it, or name another file")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"folder not found: {out.parent}; create it first")


def _widened(
    weights: Mapping[str, Tensor], bins: tuple[float, ...], strides: Sequence[float]
) -> tuple[Mapping[str, Tensor], list[WidenedHead]]:
    """All heads of a model widened; the names stay in their order."""
    new = weights.copy()  # keeps the class and the versions of the modules
    heads = []
    for prefix in head_prefixes(weights):
        changed, head = widen_head(weights, prefix, bins, strides)
        new.update(changed)
        heads.append(head)
    return new, heads


def _config_of(meta: Mapping | None) -> tuple[Config | None, list[str]]:
    """The config in a checkpoint, and a note if it cannot be read."""
    text = (meta or {}).get("cfg")
    if not (isinstance(text, str) and text):
        return None, []
    try:
        return config_text.parse(text), []
    except config_text.ConfigTextError as error:
        return None, [f"the config in the checkpoint keeps the old bins, because it cannot be changed: {error}"]


def _strides(cfg: Config | None, levels: int) -> tuple[int, ...]:
    heads = gfl_heads(cfg) if cfg is not None else []
    if heads:
        return tuple(strides_of(heads[0]))
    if cfg is not None:
        raise ValueError("the config has no GFL head (bbox_head); give the config of the checkpoint's training")
    if levels == len(STRIDES):
        return STRIDES
    raise ValueError(
        f"the checkpoint contains no config, and its head has {levels} levels, so their strides are unknown; give the "
        "config of its training (--config)"
    )


def _with_bins(meta: Mapping, cfg: Config | None, bins: tuple[float, ...]) -> dict:
    """``meta`` with the new bins in its config."""
    if cfg is None:
        return dict(meta)
    for head in gfl_heads(cfg):
        set_bins(cfg, head, bins)
    return {**meta, "cfg": cfg.pretty_text}
