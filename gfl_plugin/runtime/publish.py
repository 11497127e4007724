"""A training's checkpoint as a file to pass on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor

from . import published_weights
from .checkpoints import read
from .errors import CheckpointError, in_a_line


def publish(checkpoint: Path, folder: Path | None = None, config: Config | None = None) -> Path:
    """Write a checkpoint's weights as safetensors, with the config, the classes and a hash inside.

    What belongs to training (optimizer, logs) stays behind. Where there is a moving average, ``state_dict`` is it, as
    MMEngine saves it.

    Args:
        checkpoint: the file.
        folder: where to write, the checkpoint's folder by default.
        config: the model's; by default the one in the checkpoint.

    Returns:
        ``<name>-<first eight digits of the hash>.safetensors``.

    Raises:
        CheckpointError: see :func:`gfl_plugin.runtime.checkpoints.read`; or for a checkpoint without weights.
        FileExistsError: where there is such a file with other content.
    """
    content = read(checkpoint, "cpu")
    meta = content.get("meta") or {}
    weights = content.get("state_dict", content)
    weights = {name: value.detach() for name, value in weights.items() if isinstance(value, Tensor)}
    if not weights:
        raise CheckpointError(f"{checkpoint} holds no weights")
    # Tensors that share memory, or are slices of larger ones, are written each on its own.
    weights = {name: value.clone(memory_format=torch.contiguous_format) for name, value in weights.items()}
    try:
        about = {
            "format": published_weights.FORMAT,
            "config": config.pretty_text if config is not None else str(meta.get("cfg", "")),
            "dataset_meta": json.dumps(meta.get("dataset_meta") or {}, default=_for_json),
            "source": json.dumps({"epoch": meta.get("epoch"), "iter": meta.get("iter"), "file": Path(checkpoint).name}),
        }
        for text in about.values():
            text.encode()
        digest = published_weights.hash_of(weights, about)
    except (TypeError, ValueError, RecursionError) as error:  # keys, numbers or letters that JSON does not have
        raise CheckpointError(f"{checkpoint}: its meta cannot be written ({in_a_line(error)})") from error
    about["sha256"] = digest
    out = (folder or Path(checkpoint).parent) / f"{Path(checkpoint).stem}-{digest[:8]}{published_weights.SUFFIX}"
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        published_weights.write(out, weights, about)
    elif not _has_hash(out, digest):
        raise FileExistsError(f"{out} is there already with other content; remove it or name another folder")
    return out


def _has_hash(path: Path, digest: str) -> bool:
    try:
        return published_weights.content(path)[1].get("sha256") == digest
    except CheckpointError:  # damaged, or something else
        return False


def _for_json(value: Any) -> Any:
    """What JSON does not know: arrays and sets as lists, anything else as text."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return list(value) if isinstance(value, (set, frozenset)) else str(value)
