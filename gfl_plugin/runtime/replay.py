"""A training step from its record, run again with everything watched."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from torch import nn

from .step_record import StepOutcome, StepRecord, batch_of, run_step, set_random_state


def replay(record: StepRecord, full_precision: bool = False) -> StepOutcome:
    """Do a recorded step again, without its optimizer: forward and backward pass from the weights before it.

    Args:
        record: of the step.
        full_precision: whether mixed precision is left out, to see whether it is what overflows.
    """
    cfg = Config.fromstring(record.config, file_format=".py")
    device = get_device()
    model = _model(cfg, record).to(device)
    set_random_state(record.random_state)
    context = contextlib.nullcontext() if full_precision else _autocast(cfg, device)
    return run_step(model, batch_of(record.batch), context)


def _model(cfg: Config, record: StepRecord) -> nn.Module:
    init_default_scope(cfg.get("default_scope", "mmdet"))
    model = cfg.model
    if cfg.get("data_preprocessor") is not None and "data_preprocessor" not in model:
        model.data_preprocessor = cfg.data_preprocessor
    built = revert_sync_batchnorm(MODELS.build(model))  # one process has nobody to synchronize with
    built.load_state_dict(record.state_dict, strict=True)
    return built


def _autocast(cfg: Config, device: str) -> AbstractContextManager:
    """What the optimizer wrapper of a config runs the forward pass in."""
    wrapper = cfg.get("optim_wrapper", {})
    if "Amp" not in str(wrapper.get("type", "")):
        return contextlib.nullcontext()
    default = "bfloat16" if device == "cpu" else "float16"
    return torch.autocast(device, dtype=getattr(torch, str(wrapper.get("dtype") or default)))
