"""GFL heads by name, with the settings in which each differs from GFL."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Recipe:
    """Settings that are merged into those of a GFL detector."""

    head: dict = field(default_factory=dict)  # of model.bbox_head
    train_cfg: dict = field(default_factory=dict)  # of model.train_cfg


RECIPES: dict[str, Recipe] = {
    "gfl": Recipe(),
    "gflv2": Recipe(head={"quality": {"type": "DistributionGuidedQuality"}}),
    # A quick start and DDOD's cost in ATSS, chosen on validation splits of BCCD and of digits: docs/recipes.md.
    "best": Recipe(
        head={
            "quality": {"type": "JointQuality", "box_weight": "one"},
            "loss_cls": {"_delete_": True, "type": "gfl_plugin.MatchabilityAwareLoss", "gamma": 1.5},
            "bbox_coder": {"type": "IntegralBBoxCoder", "initial_distance": 4.0},
        },
        train_cfg={"assigner": {"alpha": 0.8}},
    ),
}


def recipe_named(name: str) -> Recipe:
    """Copy a recipe.

    Args:
        name: a key of :data:`RECIPES`.

    Returns:
        The recipe; its settings may be changed.
    """
    return copy.deepcopy(RECIPES[name])
