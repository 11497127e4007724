"""Names resolve in every registry, and MMDetection's classes are replaced only by drop_in."""

from __future__ import annotations

import subprocess
import sys

import mmdet.registry
import mmengine.registry
import pytest
from mmengine.registry import Registry

import gfl_plugin

NAMES = [
    ("MODELS", "GFLHead"),
    ("MODELS", "QualityFocalLoss"),
    ("MODELS", "DistributionFocalLoss"),
    *(("MODELS", f"{family}QFLHead") for family in ("Retina", "FCOS", "Fovea", "SSD")),
    *(("MODELS", quality) for quality in ("JointQuality", "QualityBranch", "GuidedQuality", "NoQuality")),
    ("MODELS", "DistributionGuidedQuality"),
    ("MODELS", "GaussianNLLLoss"),
    ("TASK_UTILS", "ATSSAssigner"),
    ("TASK_UTILS", "FCOSAssigner"),
    ("TASK_UTILS", "DiracBBoxCoder"),
    ("TASK_UTILS", "GaussianBBoxCoder"),
    ("TASK_UTILS", "IntegralBBoxCoder"),
    ("HOOKS", "AssignmentStatsHook"),
    *(("HOOKS", f"{name}Hook") for name in ("BadBoxes", "ExactResume", "NonFiniteGuard", "WholeCheckpoint")),
    ("MODEL_WRAPPERS", "FullyShardedDataParallel"),
]


@pytest.mark.parametrize(("registry", "name"), NAMES)
@pytest.mark.parametrize("package", [mmdet.registry, mmengine.registry])
def test_scoped_names_resolve(package, registry: str, name: str) -> None:
    found = getattr(package, registry).get(f"gfl_plugin.{name}")
    assert found.__module__.startswith("gfl_plugin.")


def test_strategies_resolve() -> None:
    """Strategies are in MMEngine's registry, because MMDetection has none."""
    assert mmengine.registry.STRATEGIES.get("gfl_plugin.FSDPStrategy").__module__ == "gfl_plugin.runtime.sharding"


def test_registered_classes_are_importable_under_the_names_of_configs() -> None:
    """Each ``gfl_plugin.NAME`` of a config can be imported as ``from gfl_plugin import NAME``."""
    registries = [
        one
        for one in vars(gfl_plugin.registry).values()
        if isinstance(one, Registry) and one.scope == gfl_plugin.registry.SCOPE
    ]
    names = set()
    for registry in registries:
        registry.import_from_location()
        own = {
            name: found for name, found in registry.module_dict.items() if found.__module__.startswith("gfl_plugin.")
        }
        names |= set(own)
        for name, found in own.items():
            namespace: dict = {}
            exec(f"from gfl_plugin import {name}", namespace)
            assert namespace[name] is found
    assert {"GFLHead", "ATSSAssigner", "ExactResumeHook", "FSDPStrategy", "FullyShardedDataParallel"} <= names
    with pytest.raises(AttributeError, match="module 'gfl_plugin' has no attribute 'NoSuchHead'"):
        gfl_plugin.NoSuchHead  # noqa: B018


@pytest.mark.parametrize("name", ["GFLHead", "QualityFocalLoss", "DistributionFocalLoss"])
def test_mmdetections_names_are_not_replaced(name: str) -> None:
    assert mmdet.registry.MODELS.get(name).__module__.startswith("mmdet.")


def test_drop_in_replaces_mmdetections_names() -> None:
    """After importing drop_in, a stock config uses our head (in a separate process)."""
    code = """
import gfl_plugin.drop_in, cases
from mmdet.registry import MODELS, TASK_UTILS
for name in ("GFLHead", "QualityFocalLoss", "DistributionFocalLoss"):
    assert MODELS.get(name).__module__.startswith("gfl_plugin."), name
assert TASK_UTILS.get("ATSSAssigner").__module__.startswith("gfl_plugin.")
head = cases.build_head(cases.head_config())
assert type(head).__module__ == "gfl_plugin.heads.gfl_head"
losses = head.loss_by_feat(*cases.random_batch(cases.Recipe()).arguments())
assert sum(losses["loss_bbox"]) > 0
"""
    path = __file__.rsplit("/", 1)[0]
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"import sys; sys.path.insert(0, {path!r})\n{code}"], check=True
    )
