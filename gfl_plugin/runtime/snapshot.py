"""Copies of the parameters and buffers of modules, which can be restored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Snapshot:
    """Values of modules at one time."""

    parts: tuple[tuple[nn.Module, dict[str, Tensor]], ...]  # each module with copies of its tensors by name

    @staticmethod
    def of(*modules: nn.Module, weights: bool = True) -> Snapshot:
        """Copy buffers and parameters.

        Args:
            *modules: whose tensors are copied.
            weights: whether to copy parameters, too.

        Returns:
            The copies.
        """
        return Snapshot(
            tuple(
                (module, {name: value.detach().clone() for name, value in _values(module, weights)})
                for module in modules
            )
        )

    @torch.no_grad()
    def restore(self) -> None:
        """Write these values back; buffers and parameters that were added later stay unchanged."""
        for module, before in self.parts:
            for name, value in _values(module, weights=True):
                if name not in before:
                    continue
                if value.shape == before[name].shape:
                    value.copy_(before[name])
                else:  # for example a buffer that was replaced by a larger one
                    value.data = before[name].clone()

    def value(self, name: str, part: int = 0) -> Tensor | None:
        """Look up one tensor.

        Args:
            name: in the state dict of the module.
            part: index of the module.

        Returns:
            The copy; None if there is no such module or name.
        """
        return self.parts[part][1].get(name) if part < len(self.parts) else None


def _values(module: nn.Module, weights: bool) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_buffers()
    if weights:
        yield from module.named_parameters()
