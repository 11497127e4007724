"""Detection of NaN and infinity in tensors, gradients and module outputs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn


class NonFiniteError(RuntimeError):
    """A NaN or an infinity with which training cannot or must not continue."""


def non_finite(tensors: Iterable[tuple[str, Any]]) -> list[str]:
    """Find floating-point tensors with non-finite values.

    Args:
        tensors: pairs of name and value; values that are not floating-point tensors are ignored.

    Returns:
        The names of those with a NaN or an infinity, in the order given.
    """
    return [
        name
        for name, tensor in tensors
        if isinstance(tensor, Tensor) and tensor.is_floating_point() and not bool(tensor.detach().isfinite().all())
    ]


def named_tensors(tree: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Iterate over the tensors in nested dicts and lists.

    Args:
        tree: a tensor, or nested dicts, lists and tuples; other values are ignored.
        name: prefix of the paths.

    Yields:
        Path and tensor; the path joins keys and indices by dots: ``state.3.exp_avg``.
    """
    if isinstance(tree, Tensor):
        yield name, tree
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from named_tensors(value, f"{name}.{key}" if name else str(key))
    elif isinstance(tree, (list, tuple)):
        for index, value in enumerate(tree):
            yield from named_tensors(value, f"{name}.{index}" if name else str(index))


def listed(kind: str, names: Sequence[str]) -> str:
    """Join names for a message and shorten long lists: ``a, b, c and 4 more losses``.

    Args:
        kind: what is listed, in the plural.
        names: of which the first three are shown.

    Returns:
        The text.
    """
    more = f" and {len(names) - 3} more {kind}" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


@contextlib.contextmanager
def watching_outputs(model: nn.Module) -> Iterator[list[str]]:
    """Record which modules return non-finite values inside a ``with`` block.

    Args:
        model: whose modules are watched.

    Yields:
        A list that receives module names in the order of computation.
    """
    found: list[str] = []

    def watch(name: str) -> Callable[[nn.Module, tuple, Any], None]:
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
