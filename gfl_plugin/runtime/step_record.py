"""What is not finite, where it first was, and the record of a step that can be run again."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import BaseBoxes, get_box_tensor
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor, nn

from . import checkpoints
from .atomic_files import write_whole
from .errors import CheckpointError

_KIND = "gfl_plugin.step"  # says what a file is
_KINDS = dict(
    config=str, epoch=int, iteration=int, state_dict=dict, random_state=dict, batch=dict,
    inputs=list, losses=list, gradients=list, outputs=list,
)  # fmt: skip
_INSTANCES = ("gt_instances", "ignored_instances")


class NonFiniteError(RuntimeError):
    """A number that is not finite, where training cannot or must not go on."""


def non_finite(tensors: Iterable[tuple[str, Any]]) -> list[str]:
    """Names of the floating-point tensors that hold a number that is not finite, in their order."""
    return [
        name
        for name, tensor in tensors
        if isinstance(tensor, Tensor) and tensor.is_floating_point() and not bool(tensor.detach().isfinite().all())
    ]


def named_tensors(tree: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors in nested dicts and lists, each with its path: ``state.3.exp_avg``."""
    if isinstance(tree, Tensor):
        yield name, tree
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from named_tensors(value, f"{name}.{key}" if name else str(key))
    elif isinstance(tree, (list, tuple)):
        for index, value in enumerate(tree):
            yield from named_tensors(value, f"{name}.{index}" if name else str(index))


def listed(kind: str, names: Sequence[str]) -> str:
    """``a, b, c and 4 more losses``, shortened."""
    more = f" and {len(names) - 3} more {kind}" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


@contextlib.contextmanager
def watching_outputs(model: nn.Module) -> Iterator[list[str]]:
    """Collect the names of modules whose output is not finite, in the order in which they are computed."""
    found: list[str] = []

    def watch(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple, output: Any) -> None:
            if non_finite(named_tensors(output)):
                found.append(name)

        return hook

    handles = [module.register_forward_hook(watch(name)) for name, module in model.named_modules() if name]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True)
class StepRecord:
    """A training step as it was before it was done: enough to do it again."""

    config: str  # of the runner, as text
    epoch: int
    iteration: int  # from 0
    state_dict: dict[str, Tensor]  # weights and buffers before the step
    random_state: dict[str, Any]  # of :func:`random_state`, before the step
    batch: dict[str, Any]  # of :func:`plain_batch`
    inputs: list[str]  # names of what was not finite in the batch
    losses: list[str]  # names of the losses that were not finite
    gradients: list[str]  # names of the parameters whose gradient was not finite
    outputs: list[str]  # modules whose output was not finite, the first one first; empty where it was not looked

    def save(self, path: Path) -> None:
        """Write the record, whole or not at all; ``weights_only`` can load it.

        Raises:
            OSError: where it cannot be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()
        torch.save({"kind": _KIND, **{name: getattr(self, name) for name in self.__dataclass_fields__}}, content)
        write_whole(path, content.getvalue(), durable=False)

    @property
    def images(self) -> int:
        """How many images the batch has, over all branches."""
        inputs = self.batch.get("inputs")
        branches = inputs.values() if isinstance(inputs, Mapping) else [inputs]
        return sum(len(branch) for branch in branches if isinstance(branch, (list, tuple)))

    @staticmethod
    def load(path: Path) -> StepRecord:
        """A record from its file.

        Raises:
            FileNotFoundError: where there is no such file.
            CheckpointError: for a file that is damaged, refused, or not a record of a step.
        """
        content = dict(checkpoints.read(path, "cpu"))
        if content.pop("kind", None) != _KIND:
            raise CheckpointError(
                f"{path} is not a record of a step; NonFiniteGuardHook writes them to WORK_DIR/non_finite/"
            )
        wanted = {name: _KINDS[name] for name in StepRecord.__dataclass_fields__}
        wrong = [name for name, kind in wanted.items() if not isinstance(content.get(name), kind)]
        if wrong or content.keys() != wanted.keys():
            names = ", ".join(wrong or map(str, content.keys() ^ wanted.keys()))
            raise CheckpointError(f"{path} is a damaged record of a step, or one of another version: {names[:200]}")
        return StepRecord(**content)


def random_state() -> dict[str, Any]:
    """The state of PyTorch's generators."""
    state: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: Mapping[str, Any]) -> None:
    """Go back to a state; a GPU's only where there is one."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


# ---------------------------------------------------------------------------------------------------
# Batches as plain tensors and numbers
# ---------------------------------------------------------------------------------------------------


def plain_batch(batch: Mapping[str, Any]) -> dict[str, Any]:
    """A batch as a data loader gives it, as tensors and plain values: images, boxes, labels, image metas.

    Args:
        batch: ``inputs`` and ``data_samples``, each a list with an entry per image, or, for MMDetection's
            MultiBranchDataPreprocessor, a dict of such lists with the branch as key. In the lists of branches, None
            stands for an image of another branch. ``data_samples`` may be None.

    Raises:
        ValueError: for a batch of another form.
    """
    if not isinstance(batch, Mapping) or "inputs" not in batch:
        got = f"a dict of {list(batch)}" if isinstance(batch, Mapping) else f"a {type(batch).__name__}"
        raise ValueError(f"the batch is {got}; it must be a dict of inputs and data_samples")
    samples = batch.get("data_samples")
    return {
        "inputs": _per_branch(batch["inputs"], _plain_image, "inputs"),
        "data_samples": None if samples is None else _per_branch(samples, _plain_sample, "data_samples"),
    }


def batch_of(plain: Mapping[str, Any]) -> dict[str, Any]:
    """The batch again, as a data loader would give it."""
    samples = plain["data_samples"]
    return {
        "inputs": _per_branch(plain["inputs"], Tensor.clone, "inputs"),
        "data_samples": None if samples is None else _per_branch(samples, _sample_of, "data_samples"),
    }


def _per_branch(entries: Any, convert: Callable[[Any], Any], where: str) -> Any:
    """Convert every entry of a list, or of each branch's list.

    Args:
        entries: a list, a tensor whose rows are the entries, or a dict of these; None stays None.
        convert: of one entry.
        where: the entries' place in the batch, for errors.

    Raises:
        ValueError: for something else.
    """
    if isinstance(entries, Mapping):
        return {str(name): _per_branch(branch, convert, f"{where}.{name}") for name, branch in entries.items()}
    if not isinstance(entries, (list, tuple, Tensor)):
        raise ValueError(f"{where} of the batch is a {type(entries).__name__}; it must be a list, or a dict of lists")
    return [None if entry is None else convert(entry) for entry in entries]


def _plain_image(image: Any) -> Tensor:
    if not isinstance(image, Tensor):
        raise ValueError(f"inputs of the batch hold a {type(image).__name__}; they must hold tensors")
    return image.detach().cpu().clone()


def _plain_sample(sample: Any) -> dict[str, Any]:
    if not isinstance(sample, BaseDataElement):
        raise ValueError(f"data_samples of the batch hold a {type(sample).__name__}; they must hold DetDataSample")
    plain = {"metainfo": _plain(sample.metainfo)}
    for name in _INSTANCES:
        if name in sample:
            items = getattr(sample, name).items()
            plain[name] = {key: _tensor(value) for key, value in items if isinstance(value, (Tensor, BaseBoxes))}
    return plain


def _sample_of(plain: Mapping[str, Any]) -> DetDataSample:
    sample = DetDataSample(metainfo=plain["metainfo"])
    for name in _INSTANCES:
        if name in plain:
            setattr(sample, name, InstanceData(**plain[name]))
    return sample


def _tensor(value: Tensor | BaseBoxes) -> Tensor:
    return (get_box_tensor(value) if isinstance(value, BaseBoxes) else value).detach().cpu().clone()


def _plain(value: Any) -> Any:
    """Numbers, texts, and lists and dicts of them; what is something else is left out."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(item) for item in value)
    if isinstance(value, np.ndarray):
        return np.array(value) if value.dtype.kind in "biuf" else _plain(value.tolist())
    if isinstance(value, np.generic):
        return value.item()
    return value if isinstance(value, (str, int, float, bool, type(None), Tensor)) else None


# ---------------------------------------------------------------------------------------------------
# A step again
# ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StepOutcome:
    """What a step gave."""

    losses: dict[str, float]  # of each name, and "loss", their sum
    outputs: list[str]  # modules whose output is not finite, in the order in which they are computed
    gradients: list[str]  # parameters whose gradient is not finite

    @property
    def finite(self) -> bool:
        """Whether every loss and every gradient is."""
        return not self.gradients and bool(np.isfinite(list(self.losses.values())).all())

    def as_dict(self) -> dict:
        """For JSON."""
        return asdict(self)


def run_step(model: nn.Module, batch: Mapping[str, Any], context: Any = None, backward: bool = True) -> StepOutcome:
    """A forward pass in training mode with every module watched, and a backward pass.

    Args:
        model: an MMEngine model, without a wrapper for several processes.
        batch: as a data loader gives it.
        context: a context manager for the forward pass, such as autocast.
        backward: whether gradients are computed; they are left in the parameters.
    """
    model.train()
    with watching_outputs(model) as outputs, context or contextlib.nullcontext():
        data = model.data_preprocessor(batch, True)
        total, values = model.parse_losses(model(**data, mode="loss"))
    gradients: Sequence[str] = []
    if backward:
        total.backward()
        gradients = non_finite((name, weight.grad) for name, weight in model.named_parameters())
    return StepOutcome({name: float(value) for name, value in values.items()}, outputs, list(gradients))
