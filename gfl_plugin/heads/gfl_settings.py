"""Resolves the settings of GFLHead's config: scopes, the number of bins, the defaults of what is left out."""

from __future__ import annotations

from mmdet.models.task_modules.coders import DistancePointBBoxCoder
from mmengine.config import ConfigDict
from torch import nn

from ..coders import DistanceBBoxCoder, IntegralBBoxCoder
from ..coders.integral_bbox_coder import number_of_steps
from ..quality import QualityRepresentation
from ..registry import MODELS, SCOPE, TASK_UTILS
from .biased_init import BiasedNormalInit


def scoped(config: dict) -> ConfigDict:
    """A config whose names without a scope mean this plugin's class where it has one, else MMDetection's.

    Args:
        config: of a part of the head. MMEngine leaves the key ``_delete_`` if the base has nothing to delete; it is
            removed here.

    Returns:
        A new config.
    """
    return ConfigDict({"_scope_": SCOPE, **{key: value for key, value in config.items() if key != "_delete_"}})


def build_quality(config: dict | None) -> QualityRepresentation:
    """Build the quality representation.

    Args:
        config: ``quality``; None for JointQuality.

    Returns:
        The representation.

    Raises:
        ValueError: for a class that is not a quality representation.
    """
    quality = MODELS.build(scoped(config or {"type": "JointQuality"}))
    if not isinstance(quality, QualityRepresentation):
        raise ValueError(
            f"quality is a {type(quality).__name__}; write quality=dict(type='JointQuality'), "
            "'DistributionGuidedQuality', 'NoQuality', 'QualityBranch' or 'GuidedQuality', or a subclass of "
            "gfl_plugin.quality.QualityRepresentation"
        )
    return quality


def class_loss_config(config: dict | None, quality: QualityRepresentation) -> ConfigDict:
    """The class loss: the config's, completed by the quality representation.

    Args:
        config: ``loss_cls``.
        quality: the quality representation.

    Returns:
        A config with a type.
    """
    return scoped(quality.class_loss_config(config or {}))


def build_side_loss(config: dict | str | None, coder: DistanceBBoxCoder) -> nn.Module | None:
    """Build the loss of box sides.

    Args:
        config: ``loss_dfl``; "by_coder" for the coder's default, None for no such loss.
        coder: the box coder.

    Returns:
        The loss, or None.
    """
    config = coder.default_side_loss if config == "by_coder" else config
    return MODELS.build(scoped(config)) if config else None


def train_settings(config: dict | None) -> ConfigDict | None:
    """The training settings with their defaults.

    Args:
        config: ``train_cfg``; None for a head that is not trained.

    Returns:
        A new config, or None.

    Raises:
        ValueError: for settings without an assigner.
    """
    if config is None:
        return None
    if "assigner" not in config:
        raise ValueError("train_cfg has no assigner; write assigner=dict(type='gfl_plugin.ATSSAssigner', topk=9)")
    settings = ConfigDict({"allowed_border": -1, "pos_weight": -1, **config})
    settings["assigner"] = scoped(settings["assigner"])
    return settings


def coder_config(config: dict | None, reg_max: int | None) -> ConfigDict:
    """The box coder's config, with the number of bins from head or coder, whichever gives it.

    Args:
        config: ``bbox_coder``; None for an IntegralBBoxCoder.
        reg_max: the head's ``reg_max``, or None.

    Returns:
        A config with ``reg_max`` where the coder has bins.

    Raises:
        ValueError: for a class that does not code distances, or two numbers of bins that differ.
    """
    config = dict(config or {"type": "IntegralBBoxCoder"})
    if config["type"] in ("DistancePointBBoxCoder", "mmdet.DistancePointBBoxCoder", DistancePointBBoxCoder):
        config["type"] = "IntegralBBoxCoder"  # decodes the same distances, and has the bins
    kind = config["type"] if isinstance(config["type"], type) else TASK_UTILS.get(str(config["type"]))
    if not (isinstance(kind, type) and issubclass(kind, DistanceBBoxCoder)):
        raise ValueError(
            f"bbox_coder is a {config['type']}; GFLHead learns distances to a box's sides and needs "
            "bbox_coder=dict(type='gfl_plugin.IntegralBBoxCoder'), or GaussianBBoxCoder or DiracBBoxCoder"
        )
    if not issubclass(kind, IntegralBBoxCoder):
        if reg_max is not None:
            raise ValueError(f"reg_max is {reg_max}, but a {kind.__name__} has no bins; leave reg_max out")
        return scoped(config)
    coder_reg_max = config.get("reg_max")
    if None not in (reg_max, coder_reg_max) and reg_max != coder_reg_max:
        raise ValueError(
            f"reg_max is {reg_max} in bbox_head and {coder_reg_max} in its bbox_coder; write it once, in bbox_head"
        )
    config["reg_max"] = number_of_steps(coder_reg_max if reg_max is None else reg_max, config.get("bins"))
    return scoped(config)


def initialization(coder: dict) -> dict:
    """The head's ``init_cfg`` where its config has none: MMDetection's, with the coder's bias for box numbers.

    Args:
        coder: the box coder's config.

    Returns:
        ``init_cfg`` alone, or nothing for MMDetection's default.
    """
    biases = TASK_UTILS.build(coder).initial_bias()
    if biases is None:
        return {}
    layers = [
        {"type": "Normal", "name": "gfl_cls", "std": 0.01, "bias_prob": 0.01},
        {"type": BiasedNormalInit, "name": "gfl_reg", "std": 0.01, "biases": biases},
    ]
    return {"init_cfg": {"type": "Normal", "layer": "Conv2d", "std": 0.01, "override": layers}}
