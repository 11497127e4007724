"""GFL heads by name, with the settings in which each differs from GFL."""

from __future__ import annotations

import copy

# Settings of model.bbox_head that are merged into those of GFL.
RECIPES: dict[str, dict] = {
    "gfl": {},
    "gflv2": {"quality": {"type": "DistributionGuidedQuality"}},
    # Chosen on validation splits of BCCD and of digits: docs/recipes.md.
    "best": {"quality": {"type": "JointQuality", "box_weight": "balanced"}},
}


def recipe_named(name: str) -> dict:
    """Copy a recipe.

    Args:
        name: a key of :data:`RECIPES`.

    Returns:
        The settings; they may be changed.
    """
    return copy.deepcopy(RECIPES[name])
