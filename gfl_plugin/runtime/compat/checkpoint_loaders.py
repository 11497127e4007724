"""MMEngine's loaders of checkpoints call ``torch.load`` in its default mode, and PyTorch's ``load_url`` without any.

The first runs code where PyTorch is older than 2.6 or the mode is switched off, the second always. Here both read by
:func:`gfl_plugin.runtime.checkpoints.read`, for every scheme that MMEngine knows: local files, http(s), torchvision,
modelzoo, openmmlab, mmcls, s3, petrel, pavi. Schemes that a user registers stay the user's own.

Versions: MMEngine <= 0.10.7. Can go when its loaders pass ``weights_only=True``.
"""

from __future__ import annotations

import os
import re
import sys
from http.client import HTTPException
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlparse

import torch
from mmengine.runner import checkpoint as mmengine_checkpoint

from ..checkpoints import protection_is_off, read
from ..errors import CheckpointError, in_a_line


class _TorchThatReads(ModuleType):
    """``torch`` as MMEngine's checkpoint module sees it: its ``load`` is :func:`read`."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    @staticmethod
    def load(source: Any, map_location: Any = None, **settings: Any) -> dict:
        return read(source, map_location)


def load_url(url: str, model_dir: str | None = None, map_location: Any = None, progress: bool = True) -> dict:
    """A checkpoint from a URL, kept in the folder where PyTorch keeps such files.

    Raises:
        CheckpointError: where it cannot be fetched, or see :func:`read`.
    """
    shown = re.sub(r"//[^/@]*@", "//", url)  # without a password
    try:
        name = os.path.basename(urlparse(url).path)
        if name in ("", ".", ".."):
            raise ValueError("it names no file")
        path = Path(model_dir or os.path.join(torch.hub.get_dir(), "checkpoints")) / name
        fetched = not path.is_file()
        if fetched:
            print(f"Downloading {shown} to {path}", file=sys.stderr)
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), progress=progress)
    except (OSError, ValueError, RuntimeError, HTTPException) as error:  # no network, no such file, no room
        raise CheckpointError(f"{shown} could not be fetched ({in_a_line(error)})") from error
    try:
        return read(path, map_location)
    except CheckpointError:
        if fetched:  # an answer cut short, say: the next attempt fetches it again
            path.unlink()
        raise


def close() -> str:
    """Let MMEngine's loaders read tensors only; say where the user has switched that off."""
    mmengine_checkpoint.torch = _TorchThatReads("torch")
    mmengine_checkpoint.load_url = load_url
    if protection_is_off():
        return "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD is set, so checkpoints may run code when they are loaded"
    return "checkpoints are read without running what they hold, from files and URLs"
