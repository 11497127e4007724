"""Reading of checkpoints without running code from them."""

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

_ZIP = b"PK\x03\x04"  # first bytes of files since PyTorch 1.6
_TRUE = ("1", "y", "yes", "true")  # values that PyTorch accepts in its environment variables
_NO_LIMIT = 1 << 62  # bytes


def read(source: Source, map_location: Any = None) -> dict:
    """Read tensors, numbers and strings from a checkpoint, without running code from it.

    PyTorch files are read with ``weights_only=True``, whatever the default of the PyTorch version is. Their checksums
    are verified, which PyTorch itself does not do: a changed byte is detected.

    Args:
        source: a path, or an open binary file. A path with the suffix ``.safetensors`` is read as safetensors.
        map_location: as in ``torch.load``.

    Returns:
        The content, which :func:`gfl_plugin.runtime.checkpoint_content.require_sound` has accepted.

    Raises:
        FileNotFoundError: if the file does not exist.
        CheckpointError: if the file is empty, truncated, damaged or not a checkpoint, or would run code.
    """
    name = str(source) if isinstance(source, (str, Path)) else "the file"
    if isinstance(source, (str, Path)):
        source = Path(source).expanduser()
        if not source.is_file():
            raise FileNotFoundError(f"checkpoint not found: {source}")
        if not source.stat().st_size:
            raise CheckpointError(f"{name} is empty: writing it was interrupted; use the previous checkpoint")
    if isinstance(source, Path) and source.suffix == published_weights.SUFFIX:
        checkpoint, size = published_weights.read(source, map_location), source.stat().st_size
    else:
        size = _require_plain_parts(source, name)
        checkpoint = _unpickled(source, name, map_location)
    require_sound(checkpoint, name, size)
    if config_text.are_data():  # a training resumes from this checkpoint
        require_training(checkpoint, name)
    return checkpoint


def embedded_config(source: Source) -> Config:
    """Read the config that training or publishing has stored in a checkpoint, as data.

    Building a model from a config can run code (``type`` may name any importable function), so the plugin never does it
    by itself. Look at the config, and pass it on if you trust its author::

        DetInferencer(model=gfl_plugin.embedded_config("released.safetensors"), weights="released.safetensors")

    Args:
        source: see :func:`read`.

    Returns:
        The config.

    Raises:
        CheckpointError: see :func:`read`; also if the checkpoint has no config, or one that is not plain data.
    """
    checkpoint = read(source, "cpu")
    text = (checkpoint.get("meta") or {}).get("cfg", "")
    text = text if isinstance(text, str) and text else _of_message_hub(checkpoint)
    if not (isinstance(text, str) and text):
        raise CheckpointError(f"{source} contains no config; pass the config of its training")
    try:
        return config_text.parse(text)
    except config_text.ConfigTextError as error:
        raise CheckpointError(f"{source}: {error}; pass the config of its training") from error


def _of_message_hub(checkpoint: Mapping) -> Any:
    hub = checkpoint.get("message_hub")
    info = hub.get("runtime_info") if isinstance(hub, Mapping) else None
    return info.get("cfg") if isinstance(info, Mapping) else None


# ---------------------------------------------------------------------------------------------------
# PyTorch files
# ---------------------------------------------------------------------------------------------------


def protection_is_off() -> bool:
    """Whether the user has disabled ``weights_only`` by TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD.

    Returns:
        True if the environment variable is set as PyTorch expects it.
    """
    return os.environ.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "0").lower() in _TRUE


def _unpickled(source: Path | BinaryIO, name: str, map_location: Any) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return torch.load(source, map_location=map_location, weights_only=not protection_is_off())
    except pickle.UnpicklingError as error:
        raise CheckpointError(_why_refused(name, str(error))) from error
    except Exception as error:  # a damaged pickle can make PyTorch raise any exception
        if map_location is None and str(error).startswith("Attempting to deserialize object on a "):
            raise CheckpointError(
                f"{name} contains GPU tensors, and no GPU is available; pass map_location='cpu'"
            ) from error
        raise CheckpointError(f"{name} is truncated or not a PyTorch checkpoint ({in_a_line(error)})") from error


def _require_plain_parts(source: Path | BinaryIO, name: str) -> int:
    """Check checksums and pickles of a file before PyTorch reads it; return the size of the file in bytes.

    PyTorch writes a CRC-32 for each part, and does not verify it.
    """
    if protection_is_off():
        return _NO_LIMIT
    damaged = None
    try:
        with open(source, "rb") if isinstance(source, Path) else _Rewound(source) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            zipped = file.read(len(_ZIP)) == _ZIP
            file.seek(0)
            if not zipped:  # the format before PyTorch 1.6, without checksums
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
    except Exception as error:  # a damaged file can raise any exception
        raise CheckpointError(f"{name} is truncated or not a PyTorch checkpoint ({in_a_line(error)})") from error
    if damaged is not None:
        raise CheckpointError(f"{name} was changed after it was written: wrong checksum of its part {damaged!r}")
    return size


def _require_stored(parts: zipfile.ZipFile, size: int) -> None:
    """Require parts as PyTorch writes them: uncompressed, each once. Compressed parts could expand to any size.

    If a part is marked as a folder (by its name or by one bit of its attributes), PyTorch does not read it and leaves
    the memory of its tensor uninitialized.
    """
    entries = parts.infolist()
    if any(entry.is_dir() or entry.external_attr & 0x10 for entry in entries):
        raise ValueError("one of its parts is marked as a folder")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError("its parts are compressed")
    if len({entry.filename for entry in entries}) < len(entries) or sum(entry.file_size for entry in entries) > size:
        raise ValueError("its parts are larger than the file, or have equal names")


class _Rewound:
    """A context that rewinds an open file and leaves it open."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    def __enter__(self) -> BinaryIO:
        self.file.seek(0)
        return self.file

    def __exit__(self, *error: object) -> None:
        self.file.seek(0)


def _why_refused(name: str, message: str) -> str:
    """Write the error message for a refused pickle."""
    lines = [line.strip() for line in message.splitlines() if line.strip()] or ["no reason given"]
    known = [line for line in lines if "WeightsUnpickler error" in line or "GLOBAL" in line]
    cause = (known or [line for line in lines if not line.startswith("Please file")] or lines)[0]
    cause = cause.partition("WeightsUnpickler error: ")[2] or cause
    cause = cause.partition(". Please use")[0][:200]
    if not any(word in cause for word in ("GLOBAL", "it calls", "reduce", "create new object", "build")):
        return f"{name} is damaged or not a PyTorch checkpoint ({cause})"
    return (
        f"{name} is refused, and no code from it was run: it contains objects whose loading would run code ({cause}). "
        "Ask its author for a file with weights only: gfl-plugin publish CHECKPOINT"
    )
