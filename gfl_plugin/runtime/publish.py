"""Publishing of a checkpoint's weights as safetensors."""

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
    """Write the weights of a checkpoint as safetensors, with config, classes and a hash of all of it in the file.

    Training state (optimizer, logs) is left out. If training used a moving average, its weights are published:
    MMEngine stores them as ``state_dict``.

    Args:
        checkpoint: the file.
        folder: to write to; None for the folder of the checkpoint.
        config: of the model; None for the config in the checkpoint.

    Returns:
        The new file, ``<name>-<first eight digits of the hash>.safetensors``.

    Raises:
        CheckpointError: see :func:`gfl_plugin.runtime.checkpoints.read`; also if the checkpoint has no weights.
        FileExistsError: if a file of this name with other content exists.
    """
    content = read(checkpoint, "cpu")
    meta = content.get("meta") or {}
    weights = content.get("state_dict", content)
    weights = {name: value.detach() for name, value in weights.items() if isinstance(value, Tensor)}
    if not weights:
        raise CheckpointError(f"{checkpoint} contains no weights")
    # safetensors accepts neither tensors that share memory nor slices of larger tensors.
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
    except (TypeError, ValueError, RecursionError) as error:  # keys, numbers or characters that JSON does not have
        raise CheckpointError(f"{checkpoint}: meta cannot be written as JSON ({in_a_line(error)})") from error
    about["sha256"] = digest
    out = (folder or Path(checkpoint).parent) / f"{Path(checkpoint).stem}-{digest[:8]}{published_weights.SUFFIX}"
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        published_weights.write(out, weights, about)
    elif not _has_hash(out, digest):
        raise FileExistsError(f"{out} exists with other content; remove it, or name another folder")
    return out


def _has_hash(path: Path, digest: str) -> bool:
    try:
        return published_weights.content(path)[1].get("sha256") == digest
    except CheckpointError:  # damaged, or something else
        return False


def _for_json(value: Any) -> Any:
    """Convert types that JSON does not have: arrays and sets to lists, anything else to strings."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return list(value) if isinstance(value, (set, frozenset)) else str(value)
