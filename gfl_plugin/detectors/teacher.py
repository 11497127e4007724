"""The teacher of a distillation: its config, its weights, and whether it fits the student."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from mmdet.models.dense_heads import GFLHead as MMDetGFLHead
from mmengine.config import Config
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from ..runtime.config_files import ConfigNotFoundError, find_config

_SHOWN = 4  # keys that a message lists


def teacher_model(config: Mapping | str | Path) -> dict:
    """The config of a teacher's model.

    Args:
        config: a config with ``model``, or the name of one: a file, ``mmdet::family/file.py`` or
            ``gfl_plugin::family/file.py``. MMDetection's configs write ``configs/family/file.py``, which is its own
            file where the current folder has none.

    Returns:
        A new dict that ``MODELS.build`` takes.

    Raises:
        FileNotFoundError: for a file that does not exist.
        ValueError: for a config without ``model``.
    """
    loaded = config
    if isinstance(config, (str, Path)):
        loaded = Config.fromfile(_file(str(config)))
    if "model" not in loaded:
        raise ValueError(
            f"teacher_config has no model, only {', '.join(map(str, loaded)) or 'no key'}; write the file of the "
            "teacher's training, or teacher_config=dict(model=...)"
        )
    return copy.deepcopy(loaded["model"])


def load_teacher(teacher: nn.Module, checkpoint: str | Path) -> None:
    """Load a teacher's weights; all must be there and fit.

    Args:
        teacher: the teacher's model; it is changed.
        checkpoint: a file or a URL, as MMEngine's ``load_checkpoint`` takes it.

    Raises:
        FileNotFoundError: for a file that does not exist.
        CheckpointError: for a file that is not a checkpoint, or would run code.
        ValueError: for weights of another model; the message names the keys.
    """
    if not str(checkpoint):
        raise FileNotFoundError("teacher_ckpt is empty; write the file of the teacher's trained weights")
    try:
        content = CheckpointLoader.load_checkpoint(str(checkpoint), map_location="cpu")
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"teacher_ckpt not found: {checkpoint}; write the file of the teacher's trained weights"
        ) from error
    weights = {re.sub(r"^module\.", "", key): value for key, value in content.get("state_dict", content).items()}
    try:
        found = teacher.load_state_dict(weights, strict=False)
        fits = not found.missing_keys and not found.unexpected_keys
    except (RuntimeError, ValueError):  # other shapes; another head
        fits = False
    if not fits:
        raise ValueError(
            f"teacher_ckpt {checkpoint} does not fit the model of teacher_config: "
            f"{_differences(teacher.state_dict(), weights)}. Give the checkpoint of a training with that config"
        )


def check_teacher(teacher: nn.Module, student: MMDetGFLHead) -> None:
    """Check that a student's head can learn a teacher's distributions.

    Args:
        teacher: the teacher's model.
        student: the student's head.

    Raises:
        ValueError: for a teacher without distributions, with other strides or with other bins.
    """
    head = getattr(teacher, "bbox_head", None)
    learned = bins_of(head)
    if learned is None:
        raise ValueError(
            f"teacher_config builds a {type(teacher).__name__} with bbox_head {_described(head)}; localization "
            "distillation needs box sides as distributions over bins: give a teacher with a GFLHead of gfl_plugin or "
            "of MMDetection, and an IntegralBBoxCoder"
        )
    theirs, own = (list(one.prior_generator.strides) for one in (head, student))
    if theirs != own:
        raise ValueError(
            f"the teacher has {len(theirs)} levels with strides {_strides(theirs)}, the student {len(own)} levels with "
            f"strides {_strides(own)}; set anchor_generator.strides and the neck of the student to the teacher's"
        )
    bins = bins_of(student)
    if learned.shape != bins.shape or not torch.allclose(learned, bins):
        raise ValueError(
            f"the teacher's sides have {_bins(learned)}, the student's {_bins(bins)}; set bbox_head.reg_max (and the "
            "bbox_coder, where the teacher has one) of the student to the teacher's"
        )


def check_images(teacher: nn.Module, student: nn.Module) -> None:
    """Check that both models normalize images equally: the teacher gets the images of the student.

    Args:
        teacher: the teacher's model.
        student: the student's model.

    Raises:
        ValueError: for another mean or standard deviation.
    """
    theirs, own = (_normalization(model) for model in (teacher, student))
    if theirs is not None and theirs != own:
        raise ValueError(
            f"the teacher was trained on images with (mean, std) = {theirs}, and would get the student's images with "
            f"{own}; set data_preprocessor of the student to the teacher's"
        )


def bins_of(head: nn.Module | None) -> Tensor | None:
    """The bins of a head's side distributions.

    Args:
        head: any head.

    Returns:
        (n + 1,) distances in strides; None for a head without such distributions.
    """
    if not isinstance(head, MMDetGFLHead):
        return None
    coder_bins = getattr(head.bbox_coder, "bins", None)
    bins = head.integral.project if coder_bins is None else coder_bins()
    return None if bins is None else bins.detach().float().cpu()


def _normalization(model: nn.Module) -> tuple[list[float], ...] | None:
    buffers = dict(model.data_preprocessor.named_buffers()) if hasattr(model, "data_preprocessor") else {}
    values = [
        [round(value, 3) for value in buffers[key].flatten().tolist()] for key in ("mean", "std") if key in buffers
    ]
    return tuple(values) or None


def _file(name: str) -> Path:
    try:
        return find_config(name)
    except ConfigNotFoundError as error:
        if name.startswith("configs/"):
            try:
                return find_config("mmdet::" + name.removeprefix("configs/"))
            except ConfigNotFoundError:
                pass
        raise ConfigNotFoundError(f"teacher_config: {error}") from error


def _differences(expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    missing = [key for key in expected if key not in given and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in given if key not in expected]
    other = [
        f"{key} {tuple(given[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in expected
        if key in given and given[key].shape != expected[key].shape
    ]
    parts = (("missing keys", missing), ("unexpected keys", unexpected), ("other shapes", other))
    return "; ".join(f"{name}: {_some(items)}" for name, items in parts if items)


def _some(items: Sequence[str]) -> str:
    rest = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(items[:_SHOWN]) + rest


def _described(head: nn.Module | None) -> str:
    if head is None:
        return "None"
    coder = getattr(head, "bbox_coder", None)
    return type(head).__name__ + ("" if coder is None else f" and bbox_coder {type(coder).__name__}")


def _strides(strides: Sequence[tuple[int, int]]) -> str:
    return str([x if x == y else (x, y) for x, y in strides])


def _bins(bins: Tensor) -> str:
    shown = [f"{value:g}" for value in bins.tolist()]
    middle = shown if len(shown) <= 4 else [*shown[:2], "...", shown[-1]]
    return f"{len(shown)} bins ({', '.join(middle)})"
