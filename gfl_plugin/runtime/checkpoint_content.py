"""Validation of the content of a checkpoint after it has been read."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.logging import HistoryBuffer
from torch import Tensor, nn, strided

from .errors import CheckpointError

_MAX_PARTS = 10_000_000  # a part that is referenced twice counts twice
_MAX_DEPTH = 100
_ALLOWANCE = 64 << 20  # bytes of tensors beyond four times the size of the file


def require_sound(checkpoint: Any, name: str, file_size: int) -> None:
    """Refuse content that would hang, crash or mislead code that expects a dict of tensors.

    Args:
        checkpoint: as read from the file.
        name: of the file, for error messages.
        file_size: in bytes. Expanded tensors that need far more memory than that are refused.

    Raises:
        CheckpointError: if the content is not that of a checkpoint.
    """
    if not isinstance(checkpoint, Mapping):
        raise CheckpointError(f"{name} contains a {type(checkpoint).__name__}; a checkpoint is a dict of tensors")
    _require_size(checkpoint, name, file_size)
    for key in ("state_dict", "meta", "message_hub"):
        part = checkpoint.get(key)
        if not (part is None or isinstance(part, Mapping)):
            raise CheckpointError(f"{name}: {key!r} is a {type(part).__name__}; it must be a dict")
    weights = checkpoint.get("state_dict", checkpoint)
    if not isinstance(weights, Mapping):
        raise CheckpointError(f"{name}: 'state_dict' is empty")
    for key in weights:
        if not (isinstance(key, str) and key.isprintable()):
            raise CheckpointError(f"{name}: a weight's name is a {type(key).__name__}, or not printable")
    metadata = getattr(weights, "_metadata", {})
    if not (isinstance(metadata, Mapping) and all(isinstance(entry, Mapping) for entry in metadata.values())):
        raise CheckpointError(f"{name}: the metadata of the weights is damaged")


def require_training(checkpoint: Mapping, name: str) -> None:
    """Refuse checkpoints from which no training can be resumed.

    Args:
        checkpoint: that :func:`require_sound` has accepted.
        name: of the file, for error messages.

    Raises:
        CheckpointError: if something is missing or has a wrong type.
    """
    meta, hub = checkpoint.get("meta") or {}, checkpoint.get("message_hub")
    if not {"epoch", "iter"} <= meta.keys() or hub is None:
        raise CheckpointError(
            f"{name} contains weights, but no training state to resume; write load_from={name!r} and resume=False"
        )
    optimizer = checkpoint.get("optimizer", {"state": {}, "param_groups": []})
    sound = {
        "meta.epoch": _is_count(meta["epoch"]),
        "meta.iter": _is_count(meta["iter"]),
        "meta.seed": meta.get("seed") is None or _is_count(meta["seed"]),
        "message_hub": all(isinstance(part, Mapping) for part in hub.values()),
        "optimizer": isinstance(optimizer, Mapping) and all(isinstance(key, str) for key in optimizer),
        "param_schedulers": isinstance(checkpoint.get("param_schedulers", []), (list, Mapping)),
    }
    wrong = [part for part, right in sound.items() if not right]
    if wrong:
        raise CheckpointError(f"{name}: {', '.join(wrong)} has a type or a value that no training writes")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _require_size(root: Any, name: str, file_size: int) -> None:
    """Refuse cycles, too many parts, too much depth, and tensors that are too large for the file."""
    sizes: dict[int, tuple[int, int]] = {}  # parts and depth of each finished container, by id
    above: set[int] = set()  # ids of the containers around the current one
    waiting = [(root, False)]
    tensors: dict[int, int] = {}
    while waiting:
        node, done = waiting.pop()
        parts = [part for part in _parts(node, name) if isinstance(part, (Mapping, list, tuple, set, HistoryBuffer))]
        if done:
            known = [sizes[id(part)] for part in parts]
            size = 1 + len(node if hasattr(node, "__len__") else ()) + sum(count for count, _ in known)
            depth = 1 + max((one for _, one in known), default=0)
            if size > _MAX_PARTS or depth > _MAX_DEPTH:
                raise CheckpointError(f"{name} is nested too deeply, or repeats its parts too often")
            sizes[id(node)] = size, depth
            above.discard(id(node))
        elif id(node) in above:
            raise CheckpointError(f"{name} contains a container that contains itself")
        elif id(node) not in sizes:
            above.add(id(node))
            waiting.append((node, True))
            waiting.extend((part, False) for part in parts)
            for part in _parts(node, name):
                if isinstance(part, Tensor):
                    vars(part).clear()  # attributes can shadow a tensor's own methods
                    tensors[id(part)] = _bytes(part, name)
    if sum(tensors.values()) > 4 * file_size + _ALLOWANCE:
        raise CheckpointError(
            f"{name}: its tensors would need {sum(tensors.values())} bytes of memory, far more than the file has"
        )


def _parts(node: Any, name: str) -> Iterator[Any]:
    if isinstance(node, HistoryBuffer):
        yield from vars(node).values()
    elif isinstance(node, Mapping):
        if isinstance(node, OrderedDict) and vars(node).keys() - {"_metadata"}:
            raise CheckpointError(f"{name}: an OrderedDict in it has unexpected attributes")
        yield from node.values()
        yield from vars(node).values() if isinstance(node, OrderedDict) else ()
    elif isinstance(node, (list, tuple, set)):
        yield from node


def _bytes(tensor: Tensor, name: str) -> int:
    plain = type(tensor) in (Tensor, nn.Parameter) and tensor.layout == strided and not tensor.is_quantized
    if not plain or tensor.is_meta or tensor.is_complex():
        raise CheckpointError(f"{name} contains an unsupported tensor ({tensor.dtype}, {tensor.layout})")
    return tensor.numel() * tensor.element_size()
