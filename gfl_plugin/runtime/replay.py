"""Replay of a recorded training step."""

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

from ..structures.ramp import at_training_step
from .errors import CheckpointError, in_a_line
from .plain_batch import batch_of
from .run_step import StepOutcome, run_step
from .step_record import StepRecord, set_random_state


def replay(record: StepRecord, cfg: Config, full_precision: bool = False) -> StepOutcome:
    """Run forward and backward pass of a recorded step again, from the weights before the step.

    Args:
        record: of the step.
        cfg: of the training. It is not taken from the record, since building a model from a config can run code. For a
            record of your own, pass ``config_text.parse(record.config)``.
        full_precision: whether to disable mixed precision, to see whether it causes the overflow.

    Returns:
        Losses, and the names of non-finite outputs and gradients.

    Raises:
        CheckpointError: if the record is damaged, or does not belong to the config.
    """
    device = get_device()
    model = _model(cfg, record).to(device)
    try:
        set_random_state(record.random_state)
        batch = batch_of(record.batch)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(f"the record's batch or random state is damaged ({in_a_line(error)})") from error
    context = contextlib.nullcontext() if full_precision else _autocast(cfg, device)
    with at_training_step(record.iteration):  # settings that change in the first steps
        return run_step(model, batch, context)


def _model(cfg: Config, record: StepRecord) -> nn.Module:
    init_default_scope(cfg.get("default_scope", "mmdet"))
    model = copy.deepcopy(cfg.model)
    if cfg.get("data_preprocessor") is not None and "data_preprocessor" not in model:
        model.data_preprocessor = cfg.data_preprocessor
    built = revert_sync_batchnorm(MODELS.build(model))  # SyncBatchNorm needs several processes
    try:
        built.load_state_dict(record.state_dict, strict=True)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise CheckpointError(f"the record's weights do not fit the model of the config: {_one_line(error)}") from error
    return built


def _autocast(cfg: Config, device: str) -> AbstractContextManager:
    """The autocast context in which the optimizer wrapper of a config runs the forward pass."""
    wrapper = cfg.get("optim_wrapper", {})
    if "Amp" not in str(wrapper.get("type", "")):
        return contextlib.nullcontext()
    default = "bfloat16" if device == "cpu" else "float16"
    return torch.autocast(device, dtype=getattr(torch, str(wrapper.get("dtype") or default)))


def _one_line(error: Exception) -> str:
    """The message of load_state_dict in one line."""
    return " ".join(str(error).split())[:300]
