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
    ("MODELS", "MatchabilityAwareLoss"),
    ("MODELS", "DistributionFocalLoss"),
    *(("MODELS", f"{family}QFLHead") for family in ("Retina", "FCOS", "Fovea", "SSD")),
    *(("MODELS", quality) for quality in ("JointQuality", "QualityBranch", "GuidedQuality", "NoQuality")),
    ("MODELS", "DistributionGuidedQuality"),
    ("MODELS", "GaussianNLLLoss"),
    *(("MODELS", f"{name}Loss") for name in ("LocalizationDistillation", "KnowledgeDistillationKLDiv")),
    ("MODELS", "LDHead"),
    ("MODELS", "KnowledgeDistillationSingleStageDetector"),
    ("MODELS", "DetTTAModel"),
    ("METRICS", "CocoMetric"),
    ("TASK_UTILS", "ATSSAssigner"),
    ("TASK_UTILS", "FCOSAssigner"),
    ("TASK_UTILS", "DiracBBoxCoder"),
    ("TASK_UTILS", "GaussianBBoxCoder"),
    ("TASK_UTILS", "IntegralBBoxCoder"),
    ("HOOKS", "AssignmentStatsHook"),
    ("HOOKS", "ClassLossStatsHook"),
    *(("HOOKS", f"{name}Hook") for name in ("BadBoxes", "ExactResume", "NonFiniteGuard")),
    *(("HOOKS", f"{name}Hook") for name in ("SideDistribution", "WholeCheckpoint")),
    ("METRICS", "LocalizationQualityMetric"),
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


REPLACED = (
    *("GFLHead", "LDHead", "QualityFocalLoss", "DistributionFocalLoss"),
    *("KnowledgeDistillationKLDivLoss", "KnowledgeDistillationSingleStageDetector"),
)


@pytest.mark.parametrize("name", REPLACED)
def test_mmdetections_names_are_not_replaced(name: str) -> None:
    assert mmdet.registry.MODELS.get(name).__module__.startswith("mmdet.")


def run_alone(code: str) -> None:
    """Run code that can import the modules of tests/ in a separate process."""
    path = __file__.rsplit("/", 1)[0]
    code = f"import sys; sys.path.insert(0, {path!r})\n{code}"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


def test_drop_in_replaces_mmdetections_names() -> None:
    """After importing drop_in, a stock config uses our head."""
    run_alone(f"""
import gfl_plugin.drop_in, cases
from mmdet.registry import MODELS, TASK_UTILS
for name in {REPLACED!r}:
    assert MODELS.get(name).__module__.startswith("gfl_plugin."), name
assert TASK_UTILS.get("ATSSAssigner").__module__.startswith("gfl_plugin.")
head = cases.build_head(cases.head_config())
assert type(head).__module__ == "gfl_plugin.heads.gfl_head"
losses = head.loss_by_feat(*cases.random_batch(cases.Recipe()).arguments())
assert sum(losses["loss_bbox"]) > 0
""")


def test_drop_in_distills_with_mmdetections_own_config() -> None:
    """MMDetection's LD config gets our detector, heads and losses, and finds its teacher's config in any folder."""
    run_alone("""
import gfl_plugin.drop_in
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
init_default_scope("mmdet")
cfg = Config.fromfile(gfl_plugin.find_config("mmdet::ld/ld_r18-gflv1-r101_fpn_1x_coco.py"))
assert cfg.model.teacher_config == "configs/gfl/gfl_r101_fpn_ms-2x_coco.py"
cfg.model.teacher_ckpt = None  # a download
detector = MODELS.build(cfg.model)
head = detector.bbox_head
assert type(detector) is gfl_plugin.KnowledgeDistillationSingleStageDetector
assert type(head) is gfl_plugin.LDHead and type(head.loss_ld) is gfl_plugin.LocalizationDistillationLoss
assert (head.loss_ld.T, head.loss_ld.loss_weight) == (10, 0.25)
assert type(detector.teacher_model.bbox_head) is gfl_plugin.GFLHead
""")
