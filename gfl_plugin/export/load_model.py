"""Builds a detector from its config and loads a checkpoint that must fit it completely."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from ..heads.box_intervals import OPTION
from ..heads.box_uncertainty import OPTIONS
from ..runtime.checkpoints import read
from ..runtime.errors import in_a_line

_NAMED = 3  # weights that a message names
# Not weights: what a layer counts in training, and the bins, which belong to the config.
_OPTIONAL = (".num_batches_tracked", "integral.project")


def load_model(cfg: Config, checkpoint: Path) -> nn.Module:
    """Build a detector on the CPU, in eval mode, with the weights of a checkpoint.

    MMEngine logs weights that do not fit, and leaves random ones in their place; here they are an error.

    Args:
        cfg: the config. Its settings ``with_uncertainty``, ``with_distributions`` and ``intervals`` are left out.
        checkpoint: the file.

    Returns:
        The detector, with ``cfg``, and with ``dataset_meta`` of the checkpoint.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if the file is not a checkpoint.
        ValueError: if its weights are not those of the detector.
    """
    content = read(checkpoint, "cpu")
    cfg = cfg.copy()
    init_default_scope(cfg.get("default_scope", "mmdet"))
    settings = cfg.model.get("test_cfg") or {}
    cfg.model.test_cfg = {name: value for name, value in settings.items() if name not in (*OPTIONS, OPTION)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = revert_sync_batchnorm(MODELS.build(cfg.model))
    weights = content.get("state_dict", content)
    load_fitting(model, {name.removeprefix("module."): value for name, value in weights.items()}, checkpoint)
    meta = (content.get("meta") or {}).get("dataset_meta") or {}
    model.dataset_meta = {str(name).lower(): value for name, value in meta.items()}
    model.cfg = cfg
    return model.eval()


def load_fitting(model: nn.Module, weights: Mapping[str, Tensor], name: Path | str) -> None:
    """Load weights that must be exactly those of a model.

    Args:
        model: the model.
        weights: by name.
        name: of their file, for messages.

    Raises:
        ValueError: if weights are missing, not of this model, or of another shape.
    """
    own = {name: value.shape for name, value in model.state_dict().items()}
    try:
        with torch.no_grad():
            left = model.load_state_dict(dict(weights), strict=False)
    except RuntimeError as error:  # with a line per weight
        shapes = [
            f"{key} is {_size(value.shape)}, the config's {_size(own[key])}"
            for key, value in weights.items()
            if key in own and isinstance(value, Tensor) and value.shape != own[key]
        ]
        raise ValueError(f"{name} does not fit the config: {_listed(shapes) or in_a_line(error)}") from error
    missing = [key for key in left.missing_keys if not key.endswith(_OPTIONAL)]
    unexpected = [key for key in left.unexpected_keys if not key.endswith(_OPTIONAL)]
    problems = []
    if missing:
        problems.append(f"it lacks {_listed(missing)}")
    if unexpected:
        problems.append(f"it has {_listed(unexpected)}, which the config's detector has not")
    if problems:
        raise ValueError(f"{name} does not fit the config: {'; '.join(problems)}")


def _size(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "a number"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
