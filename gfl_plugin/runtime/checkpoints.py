"""Checkpoints, read without running what they hold; a damaged or refused file is one clear line."""

from __future__ import annotations

import os
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from mmengine.config import Config

from . import config_text, published_weights
from .errors import CheckpointError, in_a_line

Source = str | Path | BinaryIO

_ZIP = b"PK\x03\x04"  # how PyTorch's files begin since 1.6
_TRUE = ("1", "y", "yes", "true")  # as PyTorch reads its environment variables


def read(source: Source, map_location: Any = None) -> dict:
    """A checkpoint from a file: tensors, numbers and texts, and nothing that is run.

    Files of PyTorch are read with ``weights_only``, whatever the default is, and their checksums are compared, which
    PyTorch itself does not do: a changed byte is found.

    Args:
        source: a path, or an open binary file. A path that ends in ``.safetensors`` is one that
            :func:`gfl_plugin.runtime.published_weights.publish` has written, or any other of that format.
        map_location: see ``torch.load``.

    Raises:
        FileNotFoundError: where there is no such file.
        CheckpointError: for a file that is empty, truncated, damaged or something else, or that asks for code to be
            run.
    """
    name = str(source) if isinstance(source, (str, Path)) else "the file"
    if isinstance(source, (str, Path)):
        source = Path(source).expanduser()
        if not source.is_file():
            raise FileNotFoundError(f"checkpoint not found: {source}")
        if not source.stat().st_size:
            raise CheckpointError(f"{name} is empty; it was never written to its end: take the checkpoint before")
        if source.suffix == published_weights.SUFFIX:
            return published_weights.read(source, map_location)
    checkpoint = _unpickled(source, name, map_location)
    _require_shape(checkpoint, name)
    return checkpoint


def embedded_config(source: Source) -> Config:
    """The config that training or publishing put into a checkpoint, read as data.

    Building a model from a config can run code (a ``type`` may name any function that can be imported), so nothing does
    it without you: look at the config, and hand it over where you trust its author::

        DetInferencer(model=gfl_plugin.embedded_config("released.safetensors"), weights="released.safetensors")

    Raises:
        CheckpointError: see :func:`read`; or for a checkpoint without a config, or with one that is not plain data.
    """
    checkpoint = read(source, "cpu")
    text = (checkpoint.get("meta") or {}).get("cfg") or _of_message_hub(checkpoint)
    if not text:
        raise CheckpointError(f"{source} holds no config; pass the one that it was trained with")
    try:
        return config_text.parse(text)
    except config_text.ConfigTextError as error:
        raise CheckpointError(f"{source}: {error}; pass the config that it was trained with") from error


def _of_message_hub(checkpoint: Mapping) -> Any:
    hub = checkpoint.get("message_hub")
    info = hub.get("runtime_info") if isinstance(hub, Mapping) else None
    return info.get("cfg") if isinstance(info, Mapping) else None


# ---------------------------------------------------------------------------------------------------
# PyTorch's files
# ---------------------------------------------------------------------------------------------------


def protection_is_off() -> bool:
    """Whether the user has told PyTorch to load whatever a file holds, by TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD."""
    return os.environ.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "0").lower() in _TRUE


def _unpickled(source: Path | BinaryIO, name: str, map_location: Any) -> Any:
    _require_checksums(source, name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return torch.load(source, map_location=map_location, weights_only=not protection_is_off())
    except pickle.UnpicklingError as error:
        raise CheckpointError(_why_refused(name, str(error))) from error
    except Exception as error:  # a damaged pickle can make PyTorch's reader fail in any way
        if "Attempting to deserialize object on" in str(error):  # a GPU's tensors without one: map_location helps
            raise
        raise CheckpointError(f"{name} is truncated or not a PyTorch checkpoint ({in_a_line(error)})") from error


def _require_checksums(source: Path | BinaryIO, name: str) -> None:
    """Compare each part of a file with the CRC-32 that PyTorch wrote beside it."""
    try:
        with open(source, "rb") if isinstance(source, Path) else _kept(source) as file:
            if file.read(len(_ZIP)) != _ZIP:
                return  # an older format, which has no checksums
            file.seek(0)
            with zipfile.ZipFile(file) as parts:
                damaged = parts.testzip()
    except Exception as error:  # whatever a damaged file does to the reader
        raise CheckpointError(f"{name} is truncated or not a PyTorch checkpoint ({in_a_line(error)})") from error
    if damaged is not None:
        raise CheckpointError(f"{name} was changed after it was written: its part {damaged!r} has another checksum")


class _kept:
    """An open file that stays open and goes back to its beginning."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    def __enter__(self) -> BinaryIO:
        self.file.seek(0)
        return self.file

    def __exit__(self, *error: object) -> None:
        self.file.seek(0)


def _why_refused(name: str, message: str) -> str:
    """What is wrong with a pickle that ``weights_only`` does not take."""
    lines = message.splitlines() or ["no reason given"]
    cause = next((line.strip() for line in lines if "WeightsUnpickler error" in line or "GLOBAL" in line), lines[0])
    cause = cause.partition("WeightsUnpickler error: ")[2] or cause
    cause = cause.partition(". Please use")[0][:200]
    if not any(word in cause for word in ("GLOBAL", "reduce", "create new object", "build")):
        return f"{name} is damaged or not a PyTorch checkpoint ({cause})"
    return (
        f"{name} is refused, and nothing in it was run: beside tensors it holds objects whose loading would run code "
        f"({cause}). Ask whoever made it for the weights alone: python tools/publish_model.py CHECKPOINT"
    )


def _require_shape(checkpoint: Any, name: str) -> None:
    """What every reader of a checkpoint takes for granted."""
    if not isinstance(checkpoint, Mapping):
        raise CheckpointError(f"{name} holds a {type(checkpoint).__name__}; a checkpoint is a dict of tensors")
    for key in ("state_dict", "meta", "message_hub"):
        part = checkpoint.get(key)
        if not (part is None or isinstance(part, Mapping)):
            raise CheckpointError(f"{name}: its {key!r} is a {type(part).__name__} and must be a dict")
    weights = checkpoint.get("state_dict", checkpoint)
    if not isinstance(weights, Mapping):
        raise CheckpointError(f"{name}: its 'state_dict' is empty")
    wrong = next((key for key in weights if not isinstance(key, str)), None)
    if wrong is not None:
        raise CheckpointError(f"{name}: a weight's name is a {type(wrong).__name__} and must be a text")
