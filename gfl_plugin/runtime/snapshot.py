"""Copies of modules' values, to go back to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Snapshot:
    """Values of modules as they were."""

    parts: tuple[tuple[nn.Module, dict[str, Tensor]], ...]  # each module with copies of its values by name

    @staticmethod
    def of(*modules: nn.Module, weights: bool = True) -> Snapshot:
        """Copies of buffers, and with ``weights`` of parameters."""
        return Snapshot(
            tuple(
                (module, {name: value.detach().clone() for name, value in _values(module, weights)})
                for module in modules
            )
        )

    @torch.no_grad()
    def restore(self) -> None:
        """Go back to these values; what a module has got since then stays."""
        for module, before in self.parts:
            for name, value in _values(module, weights=True):
                if name not in before:
                    continue
                if value.shape == before[name].shape:
                    value.copy_(before[name])
                else:  # a buffer that has been exchanged for a larger one, say
                    value.data = before[name].clone()

    def value(self, name: str, part: int = 0) -> Tensor | None:
        """A value by its name in a module's state dict; None where there is none."""
        return self.parts[part][1].get(name) if part < len(self.parts) else None


def _values(module: nn.Module, weights: bool) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_buffers()
    if weights:
        yield from module.named_parameters()
