"""Checkpoints, read without running what they hold; a damaged or refused file is one clear line."""

from __future__ import annotations

import io
import os
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from mmengine.config import Config

from . import config_text, pickle_scan, published_weights
from .checkpoint_content import require_sound, require_training
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
    if isinstance(source, Path) and source.suffix == published_weights.SUFFIX:
        checkpoint, size = published_weights.read(source, map_location), source.stat().st_size
    else:
        size = _require_plain_parts(source, name)
        checkpoint = _unpickled(source, name, map_location)
    require_sound(checkpoint, name, size)
    if config_text.are_data():  # a training resumes from it
        require_training(checkpoint, name)
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
    text = (checkpoint.get("meta") or {}).get("cfg", "")
    text = text if isinstance(text, str) and text else _of_message_hub(checkpoint)
    if not (isinstance(text, str) and text):
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
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return torch.load(source, map_location=map_location, weights_only=not protection_is_off())
    except pickle.UnpicklingError as error:
        raise CheckpointError(_why_refused(name, str(error))) from error
    except Exception as error:  # a damaged pickle can make PyTorch's reader fail in any way
        if map_location is None and str(error).startswith("Attempting to deserialize object on a "):
            raise CheckpointError(f"{name} holds a GPU's tensors, and there is none here; give map_location") from error
        raise CheckpointError(f"{name} is truncated or not a PyTorch checkpoint ({in_a_line(error)})") from error


def _require_plain_parts(source: Path | BinaryIO, name: str) -> int:
    """Look at a file before PyTorch reads it: its checksums, and what its pickle is made of; the file's size.

    PyTorch writes a CRC-32 beside each part, and does not compare it.
    """
    if protection_is_off():
        return 1 << 62
    damaged = None
    try:
        with open(source, "rb") if isinstance(source, Path) else _kept(source) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            zipped = file.read(len(_ZIP)) == _ZIP
            file.seek(0)
            if not zipped:  # an older format, which has no checksums
                pickle_scan.scan(file, legacy=True)
                return size
            with zipfile.ZipFile(file) as parts:
                _require_stored(parts, size)
                damaged = parts.testzip()
                pickles = [part for part in parts.namelist() if part.endswith("data.pkl")]
                for part in pickles if damaged is None else ():
                    with parts.open(part) as pickled:
                        pickle_scan.scan(io.BytesIO(pickled.read()))
    except pickle_scan.ScanError as error:
        raise CheckpointError(_why_refused(name, str(error))) from error
    except Exception as error:  # whatever a damaged file does to the reader
        raise CheckpointError(f"{name} is truncated or not a PyTorch checkpoint ({in_a_line(error)})") from error
    if damaged is not None:
        raise CheckpointError(f"{name} was changed after it was written: its part {damaged!r} has another checksum")
    return size


def _require_stored(parts: zipfile.ZipFile, size: int) -> None:
    """PyTorch stores parts as they are, each once; compressed ones could be of any size.

    A part that is marked as a folder, by a name or by one bit of its attributes, PyTorch takes for read, and leaves the
    tensor with whatever the memory held before.
    """
    entries = parts.infolist()
    if any(entry.is_dir() or entry.external_attr & 0x10 for entry in entries):
        raise ValueError("a part of it is marked as a folder")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError("its parts are compressed")
    if len({entry.filename for entry in entries}) < len(entries) or sum(entry.file_size for entry in entries) > size:
        raise ValueError("its parts do not fit into it")


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
    """What is wrong with a pickle that is not taken."""
    lines = [line.strip() for line in message.splitlines() if line.strip()] or ["no reason given"]
    known = [line for line in lines if "WeightsUnpickler error" in line or "GLOBAL" in line]
    cause = (known or [line for line in lines if not line.startswith("Please file")] or lines)[0]
    cause = cause.partition("WeightsUnpickler error: ")[2] or cause
    cause = cause.partition(". Please use")[0][:200]
    if not any(word in cause for word in ("GLOBAL", "it calls", "reduce", "create new object", "build")):
        return f"{name} is damaged or not a PyTorch checkpoint ({cause})"
    return (
        f"{name} is refused, and nothing in it was run: beside tensors it holds objects whose loading would run code "
        f"({cause}). Ask whoever made it for the weights alone: gfl-plugin publish CHECKPOINT"
    )
