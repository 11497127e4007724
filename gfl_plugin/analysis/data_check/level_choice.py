"""Chooses the levels and bins of a GFL head from the objects of its training set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from mmengine.config import Config

from .bin_proposals import MAX_CLIPPED, Bins, bin_coverage
from .findings import Report
from .sources import sources
from .training_view import TrainingView, gfl_head, view_training_set

_MAX_UNASSIGNED = 0.01  # share of the objects; above it, a level of stride 4 is tried
_MOST_BINS = 32  # of uniform bins; more are replaced by geometric ones


@dataclass(frozen=True)
class LevelChoice:
    """Levels and bins."""

    fine: bool  # whether the finest level has stride 4 instead of 8
    reason: str  # one sentence
    head_settings: dict = field(default_factory=dict)  # of ``bbox_head``; empty if its own bins suffice


def choose_levels(config_of: Callable[[bool], Config], limit: int, report: Report) -> LevelChoice:
    """Choose a finest stride of 4 where 8 leaves objects without a location, then bins that clip next to no side.

    Args:
        config_of: returns the config with (True) or without a level of stride 4; MMEngine's default scope must be set.
        limit: number of training images whose targets are computed.
        report: is called with the number of images done and the total number.

    Returns:
        The choice.

    Raises:
        DatasetError: if MMDetection cannot load the training set.
    """
    fine = False
    if gfl_head(config_of(False)) is None:
        return LevelChoice(False, "Strides 8 to 128, the default: the assigner of this head needs its predictions.")
    view, bins = _view(config_of(False), limit, report)
    share = _unassigned(view)
    if share > _MAX_UNASSIGNED:
        finer, finer_bins = _view(config_of(True), limit, report)
        if _unassigned(finer) < share:
            fine, view, bins = True, finer, finer_bins
    if not view.objects:
        return LevelChoice(
            False, "Strides 8 to 128, the default: training gets no objects; gfl-plugin check-data says why."
        )
    strides = "4 to 64" if fine else "8 to 128"
    left = f"{_unassigned(view):.1%} of the objects are assigned to no location"
    because = f"Strides {strides}: {left}{f', instead of {share:.1%} with strides 8 to 128' if fine else ''}"
    chosen = _fitting(bins)
    if chosen is None or chosen.settings is None:
        return LevelChoice(fine, f"{because}; {_of_unchanged_bins(view, bins)}.")
    coder = {key: value for key, value in chosen.settings["bbox_coder"].items() if key != "_delete_"}
    settings = dict(reg_max=chosen.reg_max, **({"bbox_coder": coder} if set(coder) != {"type"} else {}))
    because += (
        f"; {chosen.name} bins to {chosen.last:g} strides clip at most {MAX_CLIPPED:.1%} of the sides of each level."
    )
    return LevelChoice(fine, because, settings)


def _view(cfg: Config, limit: int, report: Report) -> tuple[TrainingView, tuple[Bins, ...]]:
    """Training targets, and the config's bins and proposals; no bins if the head has none."""
    head = gfl_head(cfg)
    (source,) = sources(cfg.train_dataloader.dataset)
    view = view_training_set(cfg, source, head, limit, report)
    coverage = bin_coverage(view, head)
    return view, () if coverage is None else coverage.bins


def _unassigned(view: TrainingView) -> float:
    return len(view.unassigned) / max(1, view.objects)


def _of_unchanged_bins(view: TrainingView, bins: tuple[Bins, ...]) -> str:
    if bins:
        return f"the bins clip at most {MAX_CLIPPED:.1%} of the sides of each level"
    return "the head has no bins" if any(map(len, view.sides)) else "there are no sides to choose bins for"


def _fitting(bins: tuple[Bins, ...]) -> Bins | None:
    """The config's bins if they reach as far as the uniform proposal, else the proposal with few enough bins."""
    if not bins:
        return None
    own, uniform, *geometric = bins
    if own.last >= uniform.last:
        return own
    return uniform if uniform.reg_max <= _MOST_BINS or not geometric else geometric[0]
