"""The config changes that replace a detector's head by a GFL head, or train it with QFL."""

from __future__ import annotations

from mmengine.config import Config, ConfigDict

from ..heads.gfl_defaults import gfl_head_config, gfl_test_cfg, gfl_train_cfg
from ..quality import JointQuality
from .dense_head import DEFAULT_CHANNELS, Pyramid, class_name, dense_head, pyramid_of
from .recipes import RECIPES, recipe_named
from .side_range import SideRange, side_range

# Heads that keep everything but their score.
QFL_HEADS = {
    "RetinaHead": "RetinaQFLHead",
    "FCOSHead": "FCOSQFLHead",
    "FoveaHead": "FoveaQFLHead",
    "SSDHead": "SSDQFLHead",
}
# Heads that get QFL as a GFL head whose box sides are single numbers.
_QFL_BY_GFL = ("ATSSHead", "GFLHead")
HEADS = (*RECIPES, "qfl")
_IMPORTS = ["gfl_plugin"]


def swap_changes(cfg: Config, head: str, overrides: dict) -> dict:
    """Compute the settings of a config that inherits from ``cfg`` and replaces its head.

    Args:
        cfg: of a single-stage dense detector.
        head: the name of a recipe in :data:`gfl_plugin.projects.recipes.RECIPES`, or "qfl" for the old head with QFL.
        overrides: settings of the new head, merged into its config.

    Returns:
        ``custom_imports`` and ``model``, with MMEngine's ``_delete_`` where nothing may be inherited.

    Raises:
        ValueError: if ``head`` is unknown, or the config does not fit; see also
            :func:`gfl_plugin.projects.dense_head.dense_head` and ``pyramid_of``.
    """
    old = dense_head(cfg)
    # Without MMDetection's default scope (as in new-style configs) MMEngine finds its classes only by their scope.
    scope = "" if cfg.get("default_scope") == "mmdet" else "mmdet."
    if head in RECIPES:
        chosen, recipe = chosen_range(cfg, head, overrides), recipe_named(head)
        changed = overrides if chosen is None else {"reg_max": chosen.reg_max, **overrides}
        model = _gfl_model(cfg.model, pyramid_of(old), recipe, changed, scope)
    elif head == "qfl":
        model = _qfl_model(cfg.model, old, overrides, scope)
    else:
        *names, last = map(repr, HEADS)
        raise ValueError(f"head is {head!r}; it must be {', '.join(names)} or {last}")
    imports = list(cfg.get("custom_imports", {}).get("imports", []))
    imports += [name for name in _IMPORTS if name not in imports]
    return dict(custom_imports=dict(imports=imports, allow_failed_imports=False), model=model)


def chosen_range(cfg: Config, head: str, overrides: dict) -> SideRange | None:
    """The range of the side distributions that :func:`swap_changes` chooses.

    Args:
        cfg: see :func:`swap_changes`.
        head: see :func:`swap_changes`.
        overrides: see :func:`swap_changes`.

    Returns:
        The choice; None if the new head has no bins, or ``overrides`` sets them.

    Raises:
        ValueError: see :func:`swap_changes`.
    """
    sets_bins = {"reg_max", "bbox_coder"} & set(overrides)
    return None if head not in RECIPES or sets_bins else side_range(cfg, pyramid_of(dense_head(cfg)).strides)


def _gfl_model(old: ConfigDict, pyramid: Pyramid, recipe: dict, overrides: dict, scope: str) -> dict:
    model: dict = dict(type=f"{scope}GFL")
    in_channels = pyramid.channels[0]
    if len(set(pyramid.channels)) > 1:
        in_channels = DEFAULT_CHANNELS
        mapper = dict(
            type=f"{scope}ChannelMapper",
            in_channels=list(pyramid.channels),
            out_channels=in_channels,
            kernel_size=1,
            num_outs=len(pyramid.channels),
        )
        model["neck"] = [*_necks(old), mapper]
    head = gfl_head_config(
        pyramid.num_classes,
        in_channels,
        pyramid.strides,
        feat_channels=pyramid.feat_channels,
        stacked_convs=pyramid.stacked_convs,
    )
    test_cfg = gfl_test_cfg()
    test_cfg["max_per_img"] = (old.get("test_cfg") or {}).get("max_per_img", test_cfg["max_per_img"])
    model["bbox_head"] = _replacing(old, "bbox_head", _merged(_merged(head, recipe), overrides))
    model["train_cfg"] = _replacing(old, "train_cfg", gfl_train_cfg())
    model["test_cfg"] = _replacing(old, "test_cfg", test_cfg)
    return model


def _qfl_model(old: ConfigDict, head: ConfigDict, overrides: dict, scope: str) -> dict:
    kind = class_name(head.type)
    if kind in _QFL_BY_GFL:
        single = dict(bbox_coder=dict(type="DiracBBoxCoder"), reg_max=None, loss_dfl=None)
        return _gfl_model(old, pyramid_of(head), {}, {**single, **overrides}, scope)
    if kind not in QFL_HEADS:
        raise ValueError(
            f"there is no QFL variant of {kind}; head='qfl' supports {', '.join([*QFL_HEADS, *_QFL_BY_GFL])}, and "
            "head='gfl' supports every dense head"
        )
    changes = dict(
        type=f"gfl_plugin.{QFL_HEADS[kind]}", loss_cls=_replacing(head, "loss_cls", dict(JointQuality.default_loss_cls))
    )
    return dict(bbox_head=_merged(changes, overrides))


def _necks(model: ConfigDict) -> list[dict]:
    """The necks of a model, in the order of the data flow."""
    neck = model.get("neck")
    found = list(neck) if isinstance(neck, (list, tuple)) else [neck] if neck else []
    return [_without_scopes(one) for one in found]


def _without_scopes(value: object) -> object:
    """A config without ``_scope_``, with which MMEngine marks what is inherited from another package."""
    if isinstance(value, dict):
        return {key: _without_scopes(item) for key, item in value.items() if key != "_scope_"}
    return type(value)(_without_scopes(item) for item in value) if isinstance(value, (list, tuple)) else value


def _replacing(old: ConfigDict, key: str, new: dict) -> dict:
    """New settings for a key, with ``_delete_`` if the old config has the key, so that nothing is inherited."""
    return dict(_delete_=True, **new) if key in old else new


def _merged(settings: dict, overrides: dict) -> dict:
    return Config._merge_a_into_b(overrides, settings)
