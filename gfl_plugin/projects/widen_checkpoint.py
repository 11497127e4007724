"""Writes a checkpoint whose GFL head has more bins and the same outputs."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator, Mapping, Sequence
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
from .wider_bins import Bins, requested_bins

_MODELS = ("state_dict", "ema_state_dict")  # weights in a checkpoint
_BARE = ""  # key of the weights in a file that holds nothing else


@dataclass(frozen=True)
class WidenedCheckpoint:
    """A written checkpoint."""

    path: Path
    heads: tuple[WidenedHead, ...]  # of the model, then of its moving average
    strides: tuple[int, ...]  # pixels per level
    settings: dict  # of bbox_head in the config
    notes: tuple[str, ...]  # what the user should know


def widen_checkpoint(
    checkpoint: Path, out: Path, config: Path | str | None = None, **request: object
) -> WidenedCheckpoint:
    """Write a copy of a checkpoint whose GFL head has more bins, and the same outputs to 0.001 px.

    Weights (also of EMAHook's moving average) and ``meta`` are kept, with the new bins in the config that ``meta``
    holds. Optimizer, schedulers and the other state of the training are left out, because they belong to the old
    shapes: start the next training with ``load_from``.

    Args:
        checkpoint: the file.
        out: the file to write.
        config: of the checkpoint's training, for its strides; None for the config in the checkpoint.
        **request: the new bins, see :func:`gfl_plugin.projects.wider_bins.requested_bins`: ``reg_max`` (with ``first``,
            ``step``), ``bins`` or ``add``.

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
    models = {key: content[key] for key in _MODELS if isinstance(content.get(key), Mapping)} or {_BARE: content}
    weights = next(iter(models.values()))
    prefix = head_prefixes(weights)[0]
    bins = requested_bins(bins_of(weights, prefix), **request)

    meta = {} if _BARE in models else content.get("meta") or {}
    embedded, notes = _embedded_config(meta)
    cfg = embedded if config is None else Config.fromfile(find_config(config), import_custom_modules=False)
    strides = _strides(cfg, len(scales_of(weights, prefix)))
    settings = bin_settings(next(iter(gfl_heads(cfg)), ConfigDict(type="gfl_plugin.GFLHead")), bins)

    widened = {key: _widened(model, bins, strides) for key, model in models.items()}
    heads = tuple(head for _, found in widened.values() for head in found)
    kept = {key: model for key, (model, _) in widened.items()}
    if "meta" in content and _BARE not in models:
        kept["meta"] = _with_bins(meta, embedded, bins)
    _write(kept.get(_BARE, kept), out)
    return WidenedCheckpoint(out, heads, strides, settings, (*notes, *_notes(content, kept, heads)))


def _check_out(out: Path) -> None:
    if out.suffix == published_weights.SUFFIX:
        raise ValueError(f"{out}: a PyTorch file is written; name a .pth file, then run: gfl-plugin publish FILE")
    if out.exists():
        raise FileExistsError(f"{out} exists; remove it, or name another file")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"folder not found: {out.parent}; create it first")


def _widened(
    weights: Mapping[str, Tensor], bins: Bins, strides: Sequence[float]
) -> tuple[Mapping[str, Tensor], list[WidenedHead]]:
    """All heads of a model widened; the names stay in their order."""
    new = copy.copy(weights)  # with the versions of the modules, an attribute
    heads = []
    for prefix in head_prefixes(weights):
        changed, head = widen_head(weights, prefix, bins, strides)
        new.update(changed)
        heads.append(head)
    return new, heads


def _embedded_config(meta: Mapping) -> tuple[Config, list[str]]:
    """The config in a checkpoint, empty if there is none, and a note if it cannot be changed."""
    text = meta.get("cfg")
    if not (isinstance(text, str) and text):
        return Config(), ["the checkpoint contains no config: write the new bins into that of its training"]
    try:
        return config_text.parse(text), []
    except config_text.ConfigTextError as error:
        return Config(), [f"the config in the checkpoint keeps the old bins, because it cannot be changed: {error}"]


def _strides(cfg: Config, levels: int) -> tuple[int, ...]:
    heads = gfl_heads(cfg)
    if heads:
        return tuple(strides_of(heads[0]))
    if "model" in cfg:
        raise ValueError("the config has no GFL head (bbox_head); give the config of the checkpoint's training")
    if levels == len(STRIDES):
        return STRIDES
    raise ValueError(
        f"the checkpoint contains no config, and its head has {levels} levels, so their strides are unknown; give the "
        "config of its training (--config)"
    )


def _with_bins(meta: Mapping, cfg: Config, bins: Bins) -> dict:
    """``meta`` with the new bins in its config."""
    heads = gfl_heads(cfg)
    for head in heads:
        set_bins(cfg, head, bins)
    return {**meta, "cfg": cfg.pretty_text} if heads else dict(meta)


def _write(content: Mapping, out: Path) -> None:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_whole(out, buffer.getvalue())


def _notes(content: Mapping, kept: Mapping, heads: Sequence[WidenedHead]) -> Iterator[str]:
    """What was left out of the content, and what else reads the probabilities of the bins."""
    left_out = [] if _BARE in kept else [key for key in content if key not in kept]
    if left_out:
        yield (
            f"left out {', '.join(map(str, left_out))}: this state belongs to the old training; start the new one with "
            "load_from, not with --resume"
        )
    for head in heads:
        if head.has_statistics:
            change = f"the probabilities that it reads change by less than {head.new_probability:.0e}"
            yield f"{head.prefix}: GFLV2's reg_conf is kept; {change}"
