"""A training step from its record, run again with everything watched."""

from __future__ import annotations

import contextlib
import copy
from contextlib import AbstractContextManager

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from torch import nn

from .errors import CheckpointError, in_a_line
from .step_record import StepOutcome, StepRecord, batch_of, run_step, set_random_state


def replay(record: StepRecord, cfg: Config, full_precision: bool = False) -> StepOutcome:
    """Do a recorded step again, without its optimizer: forward and backward pass from the weights before it.

    Args:
        record: of the step.
        cfg: of the training. It is not taken from the record, since building a model from a config can run code: where
            you made the record yourself, ``config_text.parse(record.config)`` is it.
        full_precision: whether mixed precision is left out, to see whether it is what overflows.

    Raises:
        CheckpointError: for a record that does not belong to the config, or is damaged.
    """
    device = get_device()
    model = _model(cfg, record).to(device)
    try:
        set_random_state(record.random_state)
        batch = batch_of(record.batch)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(f"the record's batch or random state is damaged ({in_a_line(error)})") from error
    context = contextlib.nullcontext() if full_precision else _autocast(cfg, device)
    return run_step(model, batch, context)


def _model(cfg: Config, record: StepRecord) -> nn.Module:
    init_default_scope(cfg.get("default_scope", "mmdet"))
    model = copy.deepcopy(cfg.model)
    if cfg.get("data_preprocessor") is not None and "data_preprocessor" not in model:
        model.data_preprocessor = cfg.data_preprocessor
    built = revert_sync_batchnorm(MODELS.build(model))  # one process has nobody to synchronize with
    try:
        built.load_state_dict(record.state_dict, strict=True)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise CheckpointError(f"the record's weights are not those of the config's model: {_listed(error)}") from error
    return built


def _autocast(cfg: Config, device: str) -> AbstractContextManager:
    """What the optimizer wrapper of a config runs the forward pass in."""
    wrapper = cfg.get("optim_wrapper", {})
    if "Amp" not in str(wrapper.get("type", "")):
        return contextlib.nullcontext()
    default = "bfloat16" if device == "cpu" else "float16"
    return torch.autocast(device, dtype=getattr(torch, str(wrapper.get("dtype") or default)))


def _listed(error: Exception) -> str:
    """What load_state_dict found, in one line."""
    return " ".join(str(error).split())[:300]
