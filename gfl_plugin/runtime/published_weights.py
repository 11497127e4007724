"""The file format of published weights: safetensors with config, classes and a hash of the content."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor

from .atomic_files import write_whole
from .errors import CheckpointError, in_a_line
from .install_advice import module_or_advice

SUFFIX = ".safetensors"
FORMAT = "gfl_plugin.weights.2"
_HASHED_WEIGHTS_ONLY = "gfl_plugin.weights.1"  # older format whose hash does not cover config and classes


def write(path: Path, weights: Mapping[str, Tensor], about: Mapping[str, str]) -> None:
    """Write tensors and texts atomically.

    Args:
        path: of the file.
        weights: the tensors by name.
        about: the texts by name.

    Raises:
        OSError: if the file cannot be written.
    """
    write_whole(path, module_or_advice("safetensors.torch", "publish").save(dict(weights), metadata=dict(about)))


def hash_of(weights: Mapping[str, Tensor], about: Mapping[str, str]) -> str:
    """Compute the SHA-256 of all content: texts, and names, types, shapes and bytes of tensors, sorted by name.

    Args:
        weights: the tensors by name.
        about: the texts by name; the entry ``sha256`` is left out.

    Returns:
        The hash in hexadecimal.
    """
    digest = hashlib.sha256()

    def add(content: bytes) -> None:
        digest.update(len(content).to_bytes(8, "little"))  # separates the entries
        digest.update(content)

    add(json.dumps({key: about[key] for key in sorted(about) if key != "sha256"}).encode())
    for name in sorted(weights):
        value = weights[name].detach().cpu().contiguous()
        add(json.dumps([name, str(value.dtype), list(value.shape)]).encode())
        add(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def read(path: Path, map_location: Any = None) -> dict:
    """Read a safetensors file as a checkpoint: ``state_dict``, and ``meta`` with config text and classes.

    Files of other programs can be read, too; their ``meta`` is empty, and no hash is verified.

    Args:
        path: of the file.
        map_location: device of the tensors; None, or a function as ``torch.load`` accepts it, leaves them on the CPU.

    Returns:
        The checkpoint.

    Raises:
        CheckpointError: if the file is damaged, or does not match its hash.
    """
    weights, about = content(path)
    meta: dict[str, Any] = {}
    if about.get("format") == _HASHED_WEIGHTS_ONLY:
        print_log(
            f"{path} has an older format, whose hash does not cover config and classes; they are not used. Write the "
            "file again with: gfl-plugin publish",
            logger="current",
            level=logging.WARNING,
        )
    elif about.get("format") == FORMAT:
        meta = {"cfg": about.get("config", ""), "dataset_meta": _dataset_meta(path, about)}
    elif "sha256" in about or str(about.get("format", "")).startswith("gfl_plugin."):
        raise CheckpointError(f"{path} has the format {about.get('format')!r}; this version reads {FORMAT!r}")
    if map_location is not None and not callable(map_location):
        weights = {name: value.to(map_location) for name, value in weights.items()}
    return {"state_dict": weights, "meta": meta}


def content(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read tensors and texts, and verify the hash if the file has one.

    Args:
        path: of the file.

    Returns:
        The tensors by name, and the texts by name.

    Raises:
        CheckpointError: see :func:`read`.
    """
    safetensors = module_or_advice("safetensors", "publish")
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            about = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
    except Exception as error:  # a damaged file can raise any exception
        raise CheckpointError(f"{path} is truncated or not a safetensors file ({in_a_line(error)})") from error
    if about.get("format") == FORMAT and about.get("sha256") != hash_of(weights, about):
        raise CheckpointError(f"{path} was changed after it was written: its content does not match its hash")
    if about.get("format") == _HASHED_WEIGHTS_ONLY and about.get("sha256") != _hash_of_weights(weights):
        raise CheckpointError(f"{path} was changed after it was written: its weights do not match its hash")
    return weights, about


def _hash_of_weights(weights: Mapping[str, Tensor]) -> str:
    """The hash of the older format."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        value = weights[name].contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _dataset_meta(path: Path, about: Mapping[str, str]) -> dict:
    try:
        meta = json.loads(about.get("dataset_meta", "{}"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: dataset_meta is not JSON ({in_a_line(error)})") from error
    if not isinstance(meta, dict):
        raise CheckpointError(f"{path}: dataset_meta is a {type(meta).__name__}; it must be a dict")
    return meta
