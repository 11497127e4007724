"""``gfl-plugin export``: what it writes, and one line for each mistake."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from export.tiny_detectors import CHANNELS, config_of, detector_of
from mmcv.ops import ModulatedDeformConv2dPack
from mmdet.models.detectors import TwoStageDetector
from mmdet.registry import MODELS
from torch import Tensor, nn

from gfl_plugin import cli
from gfl_plugin.commands import export
from gfl_plugin.export.export_model import FILE, ExportRequest, export_model, head_of
from gfl_plugin.export.load_model import load_model
from gfl_plugin.export.model_description import KEY, ModelDescription


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable:
    """Types the command for a head; gives exit status, lines of output without progress, and lines of errors."""
    monkeypatch.setattr(export, "_certified", lambda *arguments: 0)

    def run(head: str, *words: str, weights: dict | None = None, **changes: object) -> tuple:
        cfg = config_of(head, **changes)
        cfg.dump(tmp_path / "my.py")
        model = detector_of(cfg)
        content = dict(meta=dict(dataset_meta=model.dataset_meta), state_dict=model.state_dict() | (weights or {}))
        content["state_dict"] = {name: value for name, value in content["state_dict"].items() if value is not None}
        torch.save(content, tmp_path / "my.pth")
        capsys.readouterr()
        status = cli.main(
            ["export", *map(str, (tmp_path / "my.py", tmp_path / "my.pth", "-o", tmp_path / "out")), *words]
        )
        shown = capsys.readouterr()
        lines = [line for line in shown.out.splitlines() if not re.match(r"\[ *\d+ s\] ", line)]  # progress
        return status, lines, shown.err.splitlines()

    return run


def test_it_writes_the_file_and_says_so(typed: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "_certified", lambda *arguments: 1)
    pipeline = [dict(type="LoadImageFromFile"), dict(type="Pad", size_divisor=32), dict(type="PackDetInputs")]
    status, lines, errors = typed(
        "branch_dirac", "--topk", "7", "--contract", "nms", "--opset", "20", classes=1, pipeline=pipeline
    )
    assert status == 1, "the status of the certificate"
    assert len(lines) == 2 and errors == []
    assert re.fullmatch(r"wrote .*/out/model\.onnx: contract nms, opset 20, \d+\.\d MB", lines[0])
    assert lines[1] == "note: Pad of the test pipeline is not in the file; do it before"
    file = onnx.load(tmp_path / "out" / FILE)
    assert [opset.version for opset in file.opset_import] == [20]
    (text,) = (one.value for one in file.metadata_props if one.key == KEY)
    own = ModelDescription.from_json(text)
    assert own.topk == 7 and own.classes == ("class 0",) and own.contract == "nms"


@pytest.mark.parametrize(
    ("head", "words", "changes", "message"),
    [
        ("joint", ["--opset", "17"], {}, "--opset is 17; the lowest that works is 18"),
        ("joint", ["--opset", "999"], {}, "--opset is 999; the installed onnx knows opsets up to "),
        ("joint", ["--topk", "0"], {}, "--topk is 0; it must be 1 or more"),
        ("joint", ["--images", "0"], {}, "--images is 0; it must be 1 or more"),
        ("branch_dirac", ["--with-std"], {}, "--with-std: boxes of a GFLHead with a DiracBBoxCoder have no standard "),
        ("mmdet", ["--with-std"], {}, "--with-std: boxes of a GFLHead with a DistancePointBBoxCoder have no standard"),
        ("joint", ["--with-std", "--contract", "raw"], {}, "--with-std is for boxes; the contract raw gives the "),
        ("joint", [], dict(test_cfg=dict(nms_pre=-1)), "test_cfg.nms_pre is -1, which keeps all class scores; a file "),
        ("joint", [], dict(test_cfg=dict(nms=dict(type="soft_nms", iou_threshold=0.5))), "test_cfg.nms is {'"),
        (
            "fcos",
            [],
            dict(type="mmdet.FCOSHead"),
            "bbox_head is a FCOSHead of mmdet; gfl-plugin export takes gfl_plugin's GFLHead, RetinaQFLHead, ",
        ),
        ("joint", ["--preprocess", "resize"], dict(pipeline=[dict(type="Pad")]), "--preprocess resize: the test pip"),
        ("joint", [], dict(weights=dict.fromkeys(["bbox_head.gfl_cls.bias"])), "fit the config: it lacks bbox_"),
        ("joint", [], dict(weights={"neck.x": torch.zeros(1)}), "fit the config: it has neck.x, which the"),
        (
            "joint",
            [],
            dict(weights={"bbox_head.gfl_cls.weight": torch.zeros(5, CHANNELS, 3, 3)}),
            "does not fit the config: bbox_head.gfl_cls.weight is 5x8x3x3, the config's 3x8x3x3",
        ),
        ("joint", [], dict(weights={"bbox_head.gfl_reg.weight": torch.zeros(8, CHANNELS, 3, 3)}), "gfl_reg has 8 cha"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(
    typed: Callable, head: str, words: list[str], changes: dict, message: str, tmp_path: Path
) -> None:
    status, lines, errors = typed(head, *words, **changes)
    assert status == 2 and lines == [] and len(errors) == 1, errors
    assert errors[0].startswith("gfl-plugin export: ") and message in errors[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named_with_the_extra(
    typed: Callable, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    status, lines, errors = typed("joint")
    assert status == 2 and lines == [] and len(errors) == 1
    assert errors[0].startswith(f"gfl-plugin export: {package} is not installed; install it by: pip install ")
    assert "[export]" in errors[0]


def test_the_folder_may_not_be_a_file(typed: Callable, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    assert typed("joint")[2] == [f"gfl-plugin export: {tmp_path / 'out'} is a file; name a folder"]


def test_only_single_stage_detectors() -> None:
    detector = TwoStageDetector(backbone=dict(type="TinyBackboneOfTests", levels=1))
    with pytest.raises(ValueError, match="the detector is a TwoStageDetector; gfl-plugin export takes single-stage "):
        head_of(detector)


@MODELS.register_module(name="UnrecordableBackboneOfTests", force=True)
class UnrecordableBackbone(nn.Module):
    """Its operations depend on values."""

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """Features.

        Args:
            images: (B, 3, H, W).

        Returns:
            (B, CHANNELS, H/8, W/8).
        """
        features = images[:, :1, ::8, ::8].repeat(1, CHANNELS, 1, 1)
        return (features if features.sum() > 0 else -features,)


def test_a_network_that_cannot_be_recorded() -> None:
    cfg = config_of("gflv2")
    cfg.model.backbone = dict(type="UnrecordableBackboneOfTests")
    with pytest.raises(ValueError, match=r"^PyTorch cannot export this network to ONNX \(\w+: .*\)$") as error:
        export_model(detector_of(cfg), cfg, ExportRequest())
    assert "\n" not in str(error.value)


def test_deformable_convolutions_are_named() -> None:
    """The class is mmcv's, which needs no compiled operator until it computes."""
    cfg = config_of("gflv2")
    model = detector_of(cfg)
    model.neck = ModulatedDeformConv2dPack(CHANNELS, CHANNELS, 3)
    with pytest.raises(
        ValueError, match=r"deformable convolutions of mmcv \(ModulatedDeformConv2dPack\), which PyTorch"
    ):
        export_model(model, cfg, ExportRequest())


def test_settings_about_sides_are_left_out(tmp_path: Path) -> None:
    """They would need a head with uncertainty, or a file that is not there."""
    torch.save(dict(state_dict=detector_of(config_of("branch_dirac")).state_dict()), tmp_path / "my.pth")
    cfg = config_of("branch_dirac", test_cfg=dict(with_uncertainty=True, intervals="not/there.json"))
    model = load_model(cfg, tmp_path / "my.pth")
    assert set(model.bbox_head.test_cfg) == {"nms_pre", "min_bbox_size", "score_thr", "nms", "max_per_img"}
    assert not model.training and model.dataset_meta == {}
