"""Safe loading of checkpoints by MMEngine.

Problem: MMEngine's loaders call ``torch.load`` without ``weights_only``, which runs code from the file before PyTorch
    2.6 or if the default is disabled, and PyTorch's ``load_url``, which always does. onedl-mmengine allows ``getattr``
    in checkpoints, and runs the code of a file that ``weights_only`` refuses.
Versions: MMEngine <= 0.10.7, onedl-mmengine <= 0.10.12.
Change: all read with :func:`gfl_plugin.runtime.checkpoints.read`, for all schemes of MMEngine: local files, http(s),
    torchvision, modelzoo, openmmlab, mmcls, s3, petrel, pavi. Schemes that users register are not changed.
Not needed when: MMEngine's loaders pass ``weights_only=True``.
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


class _TorchWithSafeLoad(ModuleType):
    """``torch`` for MMEngine's checkpoint module, whose ``load`` is :func:`read`."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    @staticmethod
    def load(source: Any, map_location: Any = None, **settings: Any) -> dict:
        return read(source, map_location)


def load_url(url: str, model_dir: str | None = None, map_location: Any = None, progress: bool = True) -> dict:
    """Download a checkpoint to PyTorch's cache, and read it.

    Args:
        url: of the checkpoint.
        model_dir: folder for the file; None for PyTorch's cache.
        map_location: as in ``torch.load``.
        progress: whether to show a progress bar.

    Returns:
        The checkpoint.

    Raises:
        CheckpointError: if it cannot be downloaded; see also :func:`read`.
    """
    shown = re.sub(r"//[^/@]*@", "//", url)  # without a password
    try:
        name = os.path.basename(urlparse(url).path)
        if name in ("", ".", ".."):
            raise ValueError("the URL does not name a file")
        path = Path(model_dir or os.path.join(torch.hub.get_dir(), "checkpoints")) / name
        fetched = not path.is_file()
        if fetched:
            print(f"Downloading {shown} to {path}", file=sys.stderr)
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), progress=progress)
    except (OSError, ValueError, RuntimeError, HTTPException) as error:  # no network, no such file, full disk
        raise CheckpointError(f"{shown} could not be downloaded ({in_a_line(error)})") from error
    try:
        return read(path, map_location)
    except CheckpointError:
        if fetched:  # for example an incomplete download: the next attempt downloads it again
            path.unlink()
        raise


def _load_safely(file: Any, map_location: Any = None, weights_only: bool | None = None) -> dict:
    """Replace ``_safe_torch_load`` of onedl-mmengine."""
    return read(file, map_location)


def close() -> str:
    """Replace the functions that MMEngine's loaders call.

    Returns:
        What was changed, and whether the user has disabled the protection.
    """
    mmengine_checkpoint.torch = _TorchWithSafeLoad("torch")
    mmengine_checkpoint.load_url = load_url
    if hasattr(mmengine_checkpoint, "_safe_torch_load"):
        mmengine_checkpoint._safe_torch_load = _load_safely
    if protection_is_off():
        return "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD is set: checkpoints can run code when they are loaded"
    return "checkpoints from files and URLs are read without running code from them"
