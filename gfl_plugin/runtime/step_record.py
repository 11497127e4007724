"""Records of training steps, from which a step can be run again."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import checkpoints
from .atomic_files import write_whole
from .errors import CheckpointError
from .non_finite import NonFiniteError, non_finite
from .plain_batch import batch_of, plain_batch
from .run_step import StepOutcome, run_step

__all__ = [
    "NonFiniteError",
    "StepOutcome",
    "StepRecord",
    "batch_of",
    "non_finite",
    "plain_batch",
    "random_state",
    "run_step",
    "set_random_state",
]

_KIND = "gfl_plugin.step"  # marks the files
_KINDS = dict(
    config=str, epoch=int, iteration=int, state_dict=dict, random_state=dict, batch=dict,
    inputs=list, losses=list, gradients=list, outputs=list,
)  # fmt: skip


@dataclass(frozen=True)
class StepRecord:
    """The state before a training step, from which the step can be run again."""

    config: str  # of the runner, as text
    epoch: int  # from 0
    iteration: int  # from 0
    state_dict: dict[str, Tensor]  # weights and buffers before the step
    random_state: dict[str, Any]  # from `random_state`, before the step
    batch: dict[str, Any]  # from `plain_batch`
    inputs: list[str]  # names of non-finite tensors in the batch
    losses: list[str]  # names of non-finite losses
    gradients: list[str]  # names of parameters with a non-finite gradient
    outputs: list[str]  # names of modules with a non-finite output, in order of computation; [] if not determined

    def save(self, path: Path) -> None:
        """Write the record atomically, in a form that ``torch.load(weights_only=True)`` can read.

        Args:
            path: of the file; its folder is created.

        Raises:
            OSError: if the file cannot be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()
        torch.save({"kind": _KIND, **{name: getattr(self, name) for name in self.__dataclass_fields__}}, content)
        write_whole(path, content.getvalue(), durable=False)

    @property
    def images(self) -> int:
        """The number of images in the batch, summed over all branches."""
        inputs = self.batch.get("inputs")
        branches = inputs.values() if isinstance(inputs, Mapping) else [inputs]
        return sum(len(branch) for branch in branches if isinstance(branch, (list, tuple)))

    @staticmethod
    def load(path: Path) -> StepRecord:
        """Read a record from its file.

        Args:
            path: of the file.

        Returns:
            The record.

        Raises:
            FileNotFoundError: if the file does not exist.
            CheckpointError: if the file is damaged, refused, or not a step record.
        """
        content = dict(checkpoints.read(path, "cpu"))
        if content.pop("kind", None) != _KIND:
            raise CheckpointError(
                f"{path} is not a step record; NonFiniteGuardHook writes step records to WORK_DIR/non_finite/"
            )
        wanted = {name: _KINDS[name] for name in StepRecord.__dataclass_fields__}
        wrong = [name for name, kind in wanted.items() if not isinstance(content.get(name), kind)]
        if wrong or content.keys() != wanted.keys():
            names = ", ".join(wrong or map(str, content.keys() ^ wanted.keys()))
            raise CheckpointError(f"{path} is damaged, or a step record of another version: {names[:200]}")
        return StepRecord(**content)


def random_state() -> dict[str, Any]:
    """Read the state of PyTorch's random number generators.

    Returns:
        The state of the CPU's generator under "cpu", and of the current GPU's under "cuda" if CUDA is in use.
    """
    state: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: Mapping[str, Any]) -> None:
    """Restore the state of PyTorch's random number generators.

    Args:
        state: from :func:`random_state`; "cuda" is ignored without a GPU.
    """
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
