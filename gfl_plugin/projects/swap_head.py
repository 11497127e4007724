"""Config surgery: any dense detector's config in, the same config with a GFL head out."""

from __future__ import annotations

import inspect
import json
import keyword
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mmdet
from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict

from ..runtime.atomic_files import write_whole

# MMDetection's heads that predict boxes and classes from a pyramid and nothing besides.
DENSE_HEADS = (
    "ATSSHead", "AutoAssignHead", "CenterNetUpdateHead", "DDODHead", "FCOSHead", "FSAFHead", "FoveaHead",
    "FreeAnchorRetinaHead", "GARetinaHead", "GFLHead", "NASFCOSHead", "PAAHead", "PISARetinaHead", "PISASSDHead",
    "RTMDetHead", "RTMDetSepBNHead", "RepPointsHead", "RetinaHead", "RetinaSepBNHead", "SABLRetinaHead", "SSDHead",
    "TOODHead", "VFNetHead", "YOLOFHead", "YOLOXHead",
)  # fmt: skip
# Those that keep everything but their score; ATSS gets it as a GFL head whose boxes are single numbers.
QFL_HEADS = {
    "RetinaHead": "RetinaQFLHead",
    "FCOSHead": "FCOSQFLHead",
    "FoveaHead": "FoveaQFLHead",
    "SSDHead": "SSDQFLHead",
}
_QFL_OF_GFL = ("ATSSHead", "GFLHead")
# Where a level is not as wide as the others, all get this many channels; and as deep as GFL's own towers are.
_WIDTH, _DEPTH = 256, 4
_GROUPS = 32  # of the towers' group norm
_IMPORTS = ["gfl_plugin"]


@dataclass(frozen=True)
class Pyramid:
    """What the old head says of the features it gets."""

    strides: tuple[int, ...]  # pixels
    channels: tuple[int, ...]  # of each level
    num_classes: int
    feat_channels: int  # of the new head's towers
    stacked_convs: int  # of the new head's towers


def swap_head(cfg: Config, head: str = "gfl", **overrides) -> Config:
    """The same config with a GFL head, or with the joint score in its own head.

    Detector, head, and the model's train and test settings are exchanged; data, schedule, backbone and neck stay. Where
    levels differ in channels, MMDetection's ChannelMapper follows the neck. The new towers are as wide and as deep as
    the old ones where those can be GFL's (a multiple of 32 channels; at most 4 convolutions), else 256 and 4.
    ``max_per_img``, which belongs to the data set's evaluation, stays.

    Args:
        cfg: of a single-stage dense detector of MMDetection's; it is not changed.
        head: "gfl" for the GFL head; "qfl" for the old head trained with QFL, where there is one.
        **overrides: settings of the new head, merged into its config, such as ``reg_max=8``.

    Raises:
        ValueError: for a config it cannot do that to, saying why.

    Example:
        >>> cfg = swap_head(Config.fromfile("configs/retinanet/retinanet_r50_fpn_1x_coco.py"))
        >>> cfg.model.bbox_head.type
        'gfl_plugin.GFLHead'
    """
    swapped = cfg.copy()
    changes = _changes(cfg, head, overrides)
    # Merging takes the marks of deletion out of what it is given.
    swapped.merge_from_dict(ConfigDict(changes).to_dict())
    return swapped


def swap_config_file(base: Path | str, out: Path, head: str = "gfl", **overrides) -> Path:
    """Write a config that inherits from a base and exchanges its head.

    A text config cannot inherit from a new-style one (``read_base()``, imported types): such a base is written out
    whole, with its types by name.

    Args:
        base: the base's file, or MMDetection's name for it (``mmdet::retinanet/retinanet_r50_fpn_1x_coco.py``).
        out: the file to write.
        head: see :func:`swap_head`, also for the rest.

    Returns:
        ``out``.

    Raises:
        FileExistsError: when there is such a file: it is not overwritten.
        FileNotFoundError: when there is no base.
        ValueError: see :func:`swap_head`.
    """
    if out.exists():
        raise FileExistsError(f"{out} is there already; remove it or name another file")
    name = str(base)
    if not name.startswith("mmdet::") and not Path(base).is_file():
        raise FileNotFoundError(f"there is no config {base}; MMDetection's own are named mmdet::family/file.py")
    path = _packaged(name.removeprefix("mmdet::")) if name.startswith("mmdet::") else Path(base).resolve()
    # What a config imports (a backbone of another package, say) is not needed to read it.
    cfg = Config.fromfile(path, import_custom_modules=False)
    if Config._is_lazy_import(str(path)):
        lines = []
        settings = _with_type_names(swap_head(cfg, head, **overrides).to_dict())
    else:
        lines = [f"_base_ = {_as_code(_name_of(path, out))}"]
        settings = _changes(cfg, head, overrides)
    lines += [f"{key} = {_as_code(value)}" for key, value in settings.items()]
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, "\n".join(lines) + "\n")
    return out


def _packaged(name: str) -> Path:
    path = Path(mmdet.__file__).parent / ".mim" / "configs" / name
    if not path.is_file():
        raise FileNotFoundError(f"MMDetection {mmdet.__version__} has no config {name}")
    return path


def _name_of(base: Path, out: Path) -> str:
    """How a config names its base: MMDetection's by ``mmdet::``, another by its relative path."""
    packaged = (Path(mmdet.__file__).parent / ".mim" / "configs").resolve()
    if packaged in base.resolve().parents:
        name = f"mmdet::{base.resolve().relative_to(packaged).as_posix()}"
        if re.match(r"\w+::\w+/", name):  # MMEngine takes no other folder: not legacy_1.x
            return name
    return Path(os.path.relpath(base.resolve(), out.resolve().parent)).as_posix()


def _with_type_names(value: object) -> object:
    """Settings in which each imported class or function is named by a string that MMEngine's registries resolve."""
    if isinstance(value, dict):
        return {key: _with_type_names(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_with_type_names(item) for item in value)
    return f"{value.__module__}.{value.__qualname__}" if callable(value) else value


def _as_code(value: object, indent: int = 0) -> str:
    """A setting as a person would write it: on one line where that is short, else an entry a line."""
    if isinstance(value, dict):
        if all(isinstance(key, str) and key.isidentifier() and not keyword.iskeyword(key) for key in value):
            head, entries, tail = "dict(", [f"{key}={{}}" for key in value], ")"
        else:
            head, entries, tail = "{", [f"{_as_code(key)}: {{}}" for key in value], "}"
        values = list(value.values())
    elif isinstance(value, (list, tuple)):
        brackets = "[]" if isinstance(value, list) else "()"
        head, entries, tail = brackets[0], ["{}"] * len(value), brackets[1]
        values = list(value)
    else:
        return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
    inner = indent + 4
    short = ", ".join(entry.format(_as_code(one, inner)) for entry, one in zip(entries, values))
    if isinstance(value, tuple) and len(value) == 1:
        short += ","
    if "\n" not in short and indent + len(short) < 90:
        return f"{head}{short}{tail}"
    lines = [f"{' ' * inner}{entry.format(_as_code(one, inner))},\n" for entry, one in zip(entries, values)]
    return f"{head}\n{''.join(lines)}{' ' * indent}{tail}"


# ---------------------------------------------------------------------------------------------------
# What changes
# ---------------------------------------------------------------------------------------------------


def _changes(cfg: Config, head: str, overrides: dict) -> dict:
    """What a config that inherits from this one says otherwise."""
    old = _dense_head(cfg)
    # Without MMDetection's default scope, as in new-style configs, MMEngine finds its classes only by their scope.
    scope = "" if cfg.get("default_scope") == "mmdet" else "mmdet."
    if head == "gfl":
        model = _gfl_model(cfg.model, _pyramid(old), overrides, scope)
    elif head == "qfl":
        model = _qfl_model(cfg.model, old, overrides, scope)
    else:
        raise ValueError(f"head is {head!r}; it must be 'gfl' or 'qfl'")
    imports = list(cfg.get("custom_imports", {}).get("imports", []))
    imports += [name for name in _IMPORTS if name not in imports]
    return dict(custom_imports=dict(imports=imports, allow_failed_imports=False), model=model)


def _gfl_model(old: ConfigDict, pyramid: Pyramid, overrides: dict, scope: str) -> dict:
    model: dict = dict(type=f"{scope}GFL")
    in_channels = pyramid.channels[0]
    if len(set(pyramid.channels)) > 1:
        in_channels = _WIDTH
        mapper = dict(
            type=f"{scope}ChannelMapper",
            in_channels=list(pyramid.channels),
            out_channels=in_channels,
            kernel_size=1,
            num_outs=len(pyramid.channels),
        )
        model["neck"] = [*_necks(old), mapper]
    head = dict(
        type="gfl_plugin.GFLHead",
        num_classes=pyramid.num_classes,
        in_channels=in_channels,
        feat_channels=pyramid.feat_channels,
        stacked_convs=pyramid.stacked_convs,
        anchor_generator=dict(
            type="AnchorGenerator",
            ratios=[1.0],
            octave_base_scale=8,
            scales_per_octave=1,
            strides=list(pyramid.strides),
        ),
        loss_cls=dict(type="QualityFocalLoss", use_sigmoid=True, beta=2.0, loss_weight=1.0),
        loss_dfl=dict(type="DistributionFocalLoss", loss_weight=0.25),
        reg_max=16,
        loss_bbox=dict(type="GIoULoss", loss_weight=2.0),
    )
    train = dict(assigner=dict(type="gfl_plugin.ATSSAssigner", topk=9), allowed_border=-1, pos_weight=-1, debug=False)
    test = dict(
        nms_pre=1000,
        min_bbox_size=0,
        score_thr=0.05,
        nms=dict(type="nms", iou_threshold=0.6),
        max_per_img=(old.get("test_cfg") or {}).get("max_per_img", 100),
    )
    model["bbox_head"] = _instead_of(old, "bbox_head", _overridden(head, overrides))
    model["train_cfg"] = _instead_of(old, "train_cfg", train)
    model["test_cfg"] = _instead_of(old, "test_cfg", test)
    return model


def _qfl_model(old: ConfigDict, head: ConfigDict, overrides: dict, scope: str) -> dict:
    loss = dict(type="QualityFocalLoss", use_sigmoid=True, beta=2.0, loss_weight=1.0)
    kind = _plain_name(head.type)
    if kind in _QFL_OF_GFL:
        single = dict(bbox_coder=dict(type="DiracBBoxCoder"), reg_max=None, loss_dfl=None)
        return _gfl_model(old, _pyramid(head), {**single, **overrides}, scope)
    if kind not in QFL_HEADS:
        raise ValueError(
            f"there is no {kind} with QFL alone; head='qfl' goes with {', '.join([*QFL_HEADS, *_QFL_OF_GFL])}, and "
            "head='gfl' with every dense head"
        )
    changes = dict(type=f"gfl_plugin.{QFL_HEADS[kind]}", loss_cls=_instead_of(head, "loss_cls", loss))
    return dict(bbox_head=_overridden(changes, overrides))


def _necks(model: ConfigDict) -> list[dict]:
    """The model's necks, from the backbone on."""
    neck = model.get("neck")
    found = list(neck) if isinstance(neck, (list, tuple)) else [neck] if neck else []
    return [_plain(one) for one in found]


def _plain(value: object) -> object:
    """A config without the scopes MMEngine marks what it inherits from another package with."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if key != "_scope_"}
    return type(value)(_plain(item) for item in value) if isinstance(value, (list, tuple)) else value


def _instead_of(old: ConfigDict, key: str, new: dict) -> dict:
    """New settings for a key, with MMEngine's mark that nothing of the old ones is left, where it has the key."""
    return dict(_delete_=True, **new) if key in old else new


def _overridden(settings: dict, overrides: dict) -> dict:
    return Config._merge_a_into_b(overrides, settings)


# ---------------------------------------------------------------------------------------------------
# What is there
# ---------------------------------------------------------------------------------------------------


def _dense_head(cfg: Config) -> ConfigDict:
    """The config's dense head, or a ValueError that says why there is none to exchange."""
    model = cfg.get("model")
    if model is None:
        raise ValueError(f"{cfg.filename or 'the config'} has no model")
    for key, name in (("rpn_head", "proposals"), ("roi_head", "a second stage"), ("mask_head", "masks")):
        if model.get(key):
            raise ValueError(
                f"{model.type} has {name} ({key}), which a GFL head cannot stand for; only single-stage detectors of "
                "boxes can be swapped"
            )
    head = model.get("bbox_head")
    if not isinstance(head, dict):
        raise ValueError(f"{model.type} has no dense head (bbox_head) to exchange")
    kind = _plain_name(head.type)
    if kind not in DENSE_HEADS:
        raise ValueError(
            f"{model.type} has a {kind}, which does not predict boxes and classes from a pyramid of features alone; "
            f"heads that can be exchanged: {', '.join(DENSE_HEADS)}"
        )
    return head


def _plain_name(kind: object) -> str:
    """A class's name without its scope."""
    return kind.__name__ if isinstance(kind, type) else str(kind).split(".")[-1]


def _pyramid(head: ConfigDict) -> Pyramid:
    strides = _strides(head)
    in_channels = _setting(head, "in_channels")
    channels = (in_channels,) * len(strides) if isinstance(in_channels, int) else tuple(in_channels)
    if len(channels) != len(strides):
        raise ValueError(f"{head.type} has {len(channels)} in_channels {channels} for {len(strides)} strides {strides}")
    feat_channels, stacked_convs = head.get("feat_channels"), head.get("stacked_convs")
    fits = isinstance(feat_channels, int) and feat_channels % _GROUPS == 0
    return Pyramid(
        strides=strides,
        channels=channels,
        num_classes=_setting(head, "num_classes"),
        feat_channels=feat_channels if fits else _WIDTH,
        stacked_convs=stacked_convs if isinstance(stacked_convs, int) and stacked_convs <= _DEPTH else _DEPTH,
    )


def _strides(head: ConfigDict) -> tuple[int, ...]:
    """Pixels between a level's locations, wherever a head keeps them."""
    for generator in ("anchor_generator", "square_anchor_generator"):
        found = (head.get(generator) or {}).get("strides")
        if found:
            break
    else:
        found = head.get("strides") or head.get("point_strides") or _default(head, "strides")
    if not found:
        raise ValueError(f"{head.type} says nothing of its strides; write them into its config")
    return tuple(_side(stride) for stride in found)


def _side(stride: int | Sequence[int]) -> int:
    if isinstance(stride, int):
        return stride
    width, height = stride
    if width != height:
        raise ValueError(f"a stride is {tuple(stride)}; distances in strides need square ones")
    return width


def _setting(head: ConfigDict, name: str) -> object:
    value = head.get(name, _default(head, name))
    if value is None:
        raise ValueError(f"{head.type} says nothing of its {name}; write it into its config")
    return value


def _default(head: ConfigDict, name: str) -> object:
    """What the head's class takes where its config says nothing."""
    kind = head.type if isinstance(head.type, type) else MODELS.get(_plain_name(head.type))
    for parent in inspect.getmro(kind) if kind else ():
        parameter = inspect.signature(parent.__init__).parameters.get(name)
        if parameter is not None and parameter.default is not inspect.Parameter.empty:
            return parameter.default
    return None
