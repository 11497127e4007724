"""Each config builds its detector, and COCO configs change only the head."""

from __future__ import annotations

from pathlib import Path

import mmdet
import pytest
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
ALL = sorted(path for path in CONFIGS.rglob("*.py") if "_base_" not in path.parts)
STOCK = Path(mmdet.__file__).parent / ".mim" / "configs" / "gfl"
COCO = sorted((CONFIGS / "gfl").glob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(CONFIGS))


def test_the_six_coco_models_are_there() -> None:
    assert [path.name for path in COCO] == sorted(path.name for path in STOCK.glob("gfl_*.py"))
    assert len(COCO) == 6


@pytest.mark.parametrize("path", ALL, ids=name_of)
def test_builds(path: Path) -> None:
    cfg = Config.fromfile(path)
    init_default_scope(cfg.default_scope)
    if "teacher_ckpt" in cfg.model:
        cfg.model.teacher_ckpt = None  # a download, or the result of a training
    detector = MODELS.build(cfg.model)
    named = str(cfg.model.bbox_head.type)
    plugin = named.startswith("gfl_plugin.")
    assert plugin or path.parent.name in ("components", "peers", "qfl_detectors") or "atss" in path.name
    assert type(detector.bbox_head).__name__ == named.split(".")[-1]
    if path.parent.name in ("gfl", "gflv2", "ld", "demo", "bccd") and plugin:
        head = detector.bbox_head
        parts = [head.assigner, head.loss_cls, head.loss_dfl, *([head.loss_ld] if "ld_" in path.name else [])]
        assert all(type(part).__module__.startswith("gfl_plugin.") for part in parts)


@pytest.mark.parametrize("path", COCO, ids=name_of)
def test_only_the_head_differs_from_mmdetections(path: Path) -> None:
    ours, stock = Config.fromfile(path), Config.fromfile(STOCK / path.name)
    assert ours.pop("custom_imports")["imports"] == ["gfl_plugin"]
    assert ours.model.bbox_head.pop("type") == "gfl_plugin.GFLHead"
    assert stock.model.bbox_head.pop("type") == "GFLHead"
    assert _plain(ours.to_dict()) == _plain(stock.to_dict())


def test_distillation_changes_only_types_and_the_place_of_the_teachers_config() -> None:
    """The COCO config is MMDetection's, and that on BCCD is the student's, apart from the teacher."""
    stock = Config.fromfile(STOCK.parent / "ld" / "ld_r18-gflv1-r101_fpn_1x_coco.py").to_dict()
    ours = Config.fromfile(CONFIGS / "ld" / "ld_r18_gfl_r101_coco.py").to_dict()
    assert ours.pop("custom_imports")["imports"] == ["gfl_plugin"]
    student = Config.fromfile(CONFIGS / "bccd" / "gfl_r18_bccd.py").to_dict()
    distilled = Config.fromfile(CONFIGS / "bccd" / "ld_r18_bccd.py").to_dict()
    for cfg in (stock, ours, student, distilled):
        cfg["model"].pop("type"), cfg["model"]["bbox_head"].pop("type"), cfg["model"].pop("teacher_config", None)
    assert _plain(ours) == _plain(stock)
    distilled["model"].pop("teacher_ckpt")
    assert distilled == student


def test_gflv2_differs_from_gfl_in_quality_and_scales() -> None:
    """The authors' six models: GFL's, with their quality; in multi-scale training images are up to 960 px high."""
    names = {path.name.removeprefix("gflv2_") for path in (CONFIGS / "gflv2").glob("*.py")}
    own = {"res2net-101-dconv-c4-c5_fpn_ms-2x_coco.py"}
    without_gflv2 = {"x101-32x4d_fpn_ms-2x_coco.py"}
    assert names == {path.name.removeprefix("gfl_") for path in COCO} - without_gflv2 | own
    for name in sorted(names):
        ours = Config.fromfile(CONFIGS / "gflv2" / f"gflv2_{name}").to_dict()
        base = "x101-32x4d-dconv-c4-c5_fpn_ms-2x_coco.py" if name in own else name
        gfl = Config.fromfile(CONFIGS / "gfl" / f"gfl_{base}").to_dict()
        assert ours["model"]["bbox_head"].pop("quality") == dict(type="DistributionGuidedQuality")
        if "ms-2x" in name:
            scales = [cfg.pop("train_pipeline")[2].pop("scale") for cfg in (ours, gfl)]
            assert scales == [[(1333, 480), (1333, 960)], [(1333, 480), (1333, 800)]]
            for cfg in (ours, gfl):
                cfg["train_dataloader"]["dataset"]["pipeline"][2].pop("scale")
        if name in own:
            stock = Config.fromfile(STOCK.parent / "res2net" / "faster-rcnn_res2net-101_fpn_2x_coco.py").to_dict()
            deformable = {key: gfl["model"]["backbone"][key] for key in ("dcn", "stage_with_dcn")}
            gfl["model"]["backbone"] = {**stock["model"]["backbone"], **deformable}
        assert _plain(ours) == _plain(gfl)


def _plain(value: object) -> object:
    """A config without the scopes that MMEngine adds to dicts inherited from another package."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if key != "_scope_"}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def test_baseline_and_gfl_share_all_but_the_head() -> None:
    """Data, schedule, backbone and neck are the same, so the comparison is one of heads."""
    for folder in ("demo", "bccd"):
        gfl, atss = (
            Config.fromfile(CONFIGS / folder / f"{name}_r18_{folder}.py").to_dict() for name in ("gfl", "atss")
        )
        for cfg in (gfl, atss):
            head = cfg["model"].pop("bbox_head")
            cfg["model"]["train_cfg"].pop("assigner")
            cfg["towers"] = {key: head[key] for key in ("in_channels", "feat_channels", "stacked_convs", "loss_bbox")}
        assert gfl == atss
