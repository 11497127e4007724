"""The model of a new project: a base config, and what must be changed in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mmengine.config import Config

from ...runtime.config_files import find_config
from ..config_difference import config_difference
from ..swap_head import swap_head

MODELS = ("r18", "r50")
_SMALL = "gfl_plugin::_base_/gfl_small.py"
_FROM_SCRATCH = dict(init_cfg=None, frozen_stages=-1, norm_eval=False)
_FINE_STRIDES = (4, 8, 16, 32, 64)
_DEFAULT_HEAD = "gfl"  # of the base configs


@dataclass(frozen=True)
class ProjectModel:
    """The choice of a model."""

    size: str  # one of MODELS
    from_scratch: bool
    head: str  # see swap_head
    num_classes: int
    fine: bool = False  # whether there is a level of stride 4, for tiny objects
    head_settings: Mapping | None = None  # added to the head, such as its bins

    @property
    def base(self) -> str:
        """Name of the base config."""
        return _SMALL if self.small else f"gfl_plugin::_base_/gfl_{self.size}.py"

    @property
    def small(self) -> bool:
        """Whether it is the small detector for a CPU."""
        return self.from_scratch and self.size == "r18"


def model_changes(model: ProjectModel) -> dict:
    """Compute what a config that inherits from the base must set in ``model``.

    Args:
        model: the choice.

    Returns:
        The settings.

    Raises:
        ValueError: if the head is unknown.
    """
    changes: dict = dict(bbox_head=dict(num_classes=model.num_classes))
    if model.from_scratch and not model.small:
        changes["backbone"] = dict(_FROM_SCRATCH)
    if model.fine:
        changes["neck"] = dict(start_level=0)
        changes["bbox_head"]["anchor_generator"] = dict(strides=list(_FINE_STRIDES))
    base = Config.fromfile(find_config(model.base))
    base.default_scope = "mmdet"
    base.merge_from_dict(dict(model=changes))
    return Config._merge_a_into_b(_head_changes(base, model.head, dict(model.head_settings or {})), changes)


def _head_changes(base: Config, head: str, overrides: dict) -> dict:
    """The settings in which a head differs from the base, without those that only write out GFL's defaults."""
    default = swap_head(base, _DEFAULT_HEAD).model.to_dict()
    chosen = swap_head(base, head, **overrides).model.to_dict()
    needed = config_difference(base.model.to_dict(), chosen)
    changes = {}
    for key, value in needed.items():
        if chosen.get(key) == default.get(key):
            continue
        if isinstance(value, dict) and "_delete_" not in value:
            value = {name: one for name, one in value.items() if chosen[key].get(name) != default[key].get(name)}
        changes[key] = value
    return changes
