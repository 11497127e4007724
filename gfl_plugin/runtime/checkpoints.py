"""Checkpoints from strangers: read without running what they hold, and passed on without a pickle."""

from __future__ import annotations

import hashlib
import json
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor

from ..optional import module_or_advice
from .atomic_files import write_whole

SUFFIX = ".safetensors"
_FORMAT = "gfl_plugin.weights.1"


class CheckpointError(RuntimeError):
    """A file that is no checkpoint, or one that is refused."""


def register() -> None:
    """Have MMEngine read local files through :func:`load_from_local`."""
    CheckpointLoader.register_scheme("", load_from_local, force=True)


def load_from_local(filename: str, map_location: Any = None) -> dict:
    """A checkpoint from a file: MMEngine's or any other dict of tensors, or :func:`publish`'s.

    Args:
        filename: of PyTorch's format, read with ``weights_only``, or ``.safetensors``.
        map_location: see ``torch.load``.

    Raises:
        FileNotFoundError: where there is no such file.
        CheckpointError: for a file that is empty, truncated or something else, or that asks for code to be run.
    """
    path = Path(filename).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    size = path.stat().st_size
    if not size:
        raise CheckpointError(f"{path} is empty; it was never written to its end: take the checkpoint before")
    checkpoint = _load_published(path, map_location) if path.suffix == SUFFIX else _load_pickled(path, map_location)
    if not isinstance(checkpoint, Mapping):
        raise CheckpointError(f"{path} holds a {type(checkpoint).__name__}; a checkpoint is a dict of tensors")
    return checkpoint


def _load_pickled(path: Path, map_location: Any) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_why_refused(path, str(error))) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, UnicodeDecodeError) as error:
        if "Attempting to deserialize object on" in str(error):  # a GPU's tensors without one: map_location helps
            raise
        raise CheckpointError(f"{path} is truncated or no checkpoint of PyTorch's ({_in_a_line(error)})") from error


def _why_refused(path: Path, message: str) -> str:
    """What is wrong with a pickle that ``weights_only`` does not take."""
    if "GLOBAL" not in message and "class" not in message.lower():
        return f"{path} is no checkpoint of PyTorch's, or a damaged one ({_first_line(message)})"
    wanted = next((line.strip() for line in message.splitlines() if "GLOBAL" in line), _first_line(message))
    return (
        f"{path} is refused, and nothing in it was run: beside tensors it holds objects whose loading would run code "
        f"({wanted}). Ask whoever made it for the weights alone: python tools/publish_model.py CHECKPOINT"
    )


def _first_line(message: str) -> str:
    return message.splitlines()[0][:200] if message else "no message"


def _in_a_line(error: Exception) -> str:
    return f"{type(error).__name__}: {_first_line(str(error))}"


# ---------------------------------------------------------------------------------------------------
# Weights without a pickle
# ---------------------------------------------------------------------------------------------------


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
        CheckpointError: see :func:`load_from_local`; or for a checkpoint without weights.
        FileExistsError: where there is such a file with other content.
    """
    safetensors = module_or_advice("safetensors.torch", "publish")
    content = load_from_local(str(checkpoint), "cpu")
    meta = content.get("meta", {})
    weights = content.get("state_dict", content)
    weights = {name: value.detach() for name, value in weights.items() if isinstance(value, Tensor)}
    if not weights:
        raise CheckpointError(f"{checkpoint} holds no weights")
    # Tensors that share memory, or are slices of larger ones, are written each on its own.
    weights = {name: value.clone(memory_format=torch.contiguous_format) for name, value in weights.items()}
    digest = hash_of(weights)
    about = {
        "format": _FORMAT,
        "sha256": digest,
        "config": config.pretty_text if config is not None else meta.get("cfg", ""),
        "dataset_meta": json.dumps(meta.get("dataset_meta") or {}, default=_for_json),
        "source": json.dumps({"epoch": meta.get("epoch"), "iter": meta.get("iter"), "file": Path(checkpoint).name}),
    }
    out = (folder or Path(checkpoint).parent) / f"{Path(checkpoint).stem}-{digest[:8]}{SUFFIX}"
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, safetensors.save(weights, metadata=about))
    elif _about(out) != about or hash_of(safetensors.load_file(str(out))) != digest:
        raise FileExistsError(f"{out} is there already with other content; remove it or name another folder")
    return out


def hash_of(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of tensors, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        value = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _about(path: Path) -> dict[str, str]:
    """What a safetensors file says of itself."""
    with module_or_advice("safetensors", "publish").safe_open(str(path), framework="pt") as file:
        return file.metadata() or {}


def _load_published(path: Path, map_location: Any) -> dict:
    safetensors = module_or_advice("safetensors.torch", "publish")
    try:
        weights, about = safetensors.load_file(str(path)), _about(path)
    except (module_or_advice("safetensors", "publish").SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is truncated or no safetensors file ({_in_a_line(error)})") from error
    if "sha256" in about and about["sha256"] != hash_of(weights):
        raise CheckpointError(f"{path} was changed after it was written: its weights do not have the hash it names")
    if map_location is not None and not callable(map_location):
        weights = {name: value.to(map_location) for name, value in weights.items()}
    meta = {"cfg": about.get("config", ""), "dataset_meta": json.loads(about.get("dataset_meta", "{}"))}
    return {"state_dict": weights, "meta": meta}


def _for_json(value: Any) -> Any:
    """What JSON does not know: arrays and sets as lists, anything else as text."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return list(value) if isinstance(value, (set, frozenset)) else str(value)
