"""How many sides different bins clip, and bins that clip next to none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...coders import IntegralBBoxCoder
from ...coders.integral_bbox_coder import DEFAULT_REG_MAX
from ...heads import GFLHead
from ...projects.config_writer import as_code
from ..tables import Column, Table
from .training_view import TrainingView

MAX_CLIPPED = 0.001  # share of the sides of each level that proposed bins may clip
_CODER = "gfl_plugin.IntegralBBoxCoder"


@dataclass(frozen=True)
class Bins:
    """The bins of a config, or a proposal."""

    name: str  # "config", "uniform" or "geometric"
    reg_max: int  # n, the index of the last bin
    last: float  # the last bin, in strides; longer sides are clipped
    settings: dict | None = None  # of ``bbox_head``, to write into a config; None for the config's own bins


@dataclass(frozen=True)
class BinCoverage:
    """Sides of the positive locations of each level, and the bins to compare on them."""

    strides: tuple[float, ...]  # pixels, one per level
    sides: tuple[Tensor, ...]  # one per level, (4·P,) in strides
    bins: tuple[Bins, ...]  # the config's, then proposals

    @property
    def table(self) -> Table:
        """Share of the clipped sides: one row per level and one for all, one column per bins."""
        columns = (Column("level", numeric=False), Column("sides"), *(Column(_heading(one)) for one in self.bins))
        rows = [(f"stride {stride:g}", *_cells(level, self.bins)) for stride, level in zip(self.strides, self.sides)]
        return Table(columns, (*rows, ("all", *_cells(torch.cat(self.sides), self.bins))))

    @property
    def lines(self) -> tuple[tuple[str, str], ...]:
        """Name of each proposal, and the lines to write into the config."""
        return tuple(
            (one.name, f"model = {as_code(dict(bbox_head=one.settings))}")
            for one in self.bins
            if one.settings is not None
        )


def bin_coverage(view: TrainingView, head: GFLHead) -> BinCoverage | None:
    """Compare the bins of a head with proposals.

    Uniform bins keep the step of the config's uniform bins (1 for other bins), and get as many as they need. Geometric
    bins are 17 (n = 16) that start with a step of 1; there is no such proposal if 16 steps of 1 suffice.

    Args:
        view: training targets of a dataset.
        head: the head with which they were computed.

    Returns:
        The comparison; None if the head has no bins, or the dataset no positive location.
    """
    coder = head.bbox_coder
    if not isinstance(coder, IntegralBBoxCoder) or not sum(map(len, view.sides)):
        return None
    needed = needed_range(view.sides)
    own = Bins("config", coder.reg_max, coder.last)
    bins = [own, _uniform(needed, coder)]
    if needed > DEFAULT_REG_MAX:
        bins.append(_geometric(needed))
    return BinCoverage(tuple(head.layout.strides), view.sides, tuple(bins))


def needed_range(sides: Sequence[Tensor], max_clipped: float = MAX_CLIPPED) -> float:
    """The smallest range that clips at most a given share of the sides of every level.

    Args:
        sides: one tensor (N,) per level, in strides.
        max_clipped: the share.

    Returns:
        The length, in strides, of a side; 0 if there are no sides.
    """
    longest = 0.0
    for level in sides:
        if len(level):
            clipped = math.floor(max_clipped * len(level))  # number of sides that may be longer
            longest = max(longest, float(level.kthvalue(len(level) - clipped).values))
    return longest


def _uniform(needed: float, coder: IntegralBBoxCoder) -> Bins:
    first, step = (0.0, 1.0) if coder.step is None else (coder.first, coder.step)
    n = max(1, math.ceil((needed - first) / step))
    changed = {key: value for key, value, default in (("first", first, 0.0), ("step", step, 1.0)) if value != default}
    return Bins("uniform", n, first + n * step, _settings(n, **changed))


def _geometric(needed: float) -> Bins:
    last = math.ceil(needed)
    bins = dict(spacing="geometric", last=last, first_step=1)
    return Bins("geometric", DEFAULT_REG_MAX, float(last), _settings(DEFAULT_REG_MAX, bins=bins))


def _settings(reg_max: int, **coder: object) -> dict:
    """Settings of ``bbox_head`` that keep no setting of another coder."""
    return dict(type="gfl_plugin.GFLHead", reg_max=reg_max, bbox_coder=dict(_delete_=True, type=_CODER, **coder))


def _heading(bins: Bins) -> str:
    return f"{bins.name}: n={bins.reg_max}, to {bins.last:g}"


def _cells(sides: Tensor, bins: Sequence[Bins]) -> tuple[str, ...]:
    """Number of sides, and the share that each of the bins clips; "-" where there are no sides."""
    shares = [f"{float((sides > one.last).double().mean()):.2%}" if len(sides) else "-" for one in bins]
    return (f"{len(sides):,}", *shares)
