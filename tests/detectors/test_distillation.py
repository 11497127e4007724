"""A student learns from a checked teacher; without an error the numbers are those of MMDetection's detector."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope
from mmengine.runner import save_checkpoint
from runs import ROOT, model_config, runner, samples, weights
from torch import Tensor

import gfl_plugin
from gfl_plugin import KnowledgeDistillationSingleStageDetector
from gfl_plugin.runtime.errors import CheckpointError

OURS = "gfl_plugin.KnowledgeDistillationSingleStageDetector"
TEACHER = ROOT / "configs" / "bccd" / "gfl_r18w32_bccd.py"
# Parts of MMDetection's own heads; the demo's config leaves them to the defaults of this plugin's head.
STOCK = dict(
    loss_cls=dict(type="mmdet.QualityFocalLoss", use_sigmoid=True, beta=2.0, loss_weight=1.0),
    loss_dfl=dict(type="mmdet.DistributionFocalLoss", loss_weight=0.25),
    loss_bbox=dict(type="mmdet.GIoULoss", loss_weight=2.0),
    bbox_coder=dict(type="mmdet.DistancePointBBoxCoder"),
)


def teacher_config(**head: object) -> dict:
    """The demo's detector with twice the width of its backbone."""
    model = model_config()
    model["bbox_head"].update(head)
    return wider(model)


def wider(model: dict) -> dict:
    """The config of a teacher: the model with twice the width of its backbone."""
    model["backbone"]["base_channels"] = 32
    model["neck"]["in_channels"] = [32, 64, 128, 256]
    return {"model": model}


def student_config(teacher: object, checkpoint: object = None, head: str = "gfl_plugin.LDHead", **changes) -> dict:
    model = model_config()
    checkpoint = None if checkpoint is None else str(checkpoint)
    model.update(type=OURS, teacher_config=teacher, teacher_ckpt=checkpoint, **changes)
    model["bbox_head"]["type"] = head
    return model


def build(config: dict) -> BaseModel:
    init_default_scope("mmdet")
    return MODELS.build(ConfigDict(copy.deepcopy(config)))


def saved(model: BaseModel, path: Path) -> Path:
    """Save a model's weights as a training does."""
    save_checkpoint(dict(meta=dict(epoch=1), state_dict=model.state_dict()), str(path))
    return path


def trained_teacher(tmp_path: Path, items: int = 1) -> Path:
    """The checkpoint of a short training by MMEngine, with its message hub."""
    model = teacher_config()["model"]
    run = runner(tmp_path, samples(items), [], model=model, cfg=Config(dict(model=model, default_scope="mmdet")))
    run.train()
    return tmp_path / "epoch_1.pth"


def a_batch(detector: BaseModel) -> dict:
    items = samples(1)
    batch = dict(inputs=[item["inputs"] for item in items], data_samples=[item["data_samples"] for item in items])
    return detector.data_preprocessor(copy.deepcopy(batch), True)


def losses_of(detector: BaseModel) -> dict[str, list[float]]:
    losses = detector(**a_batch(detector), mode="loss")
    return {name: [float(level) for level in levels] for name, levels in losses.items()}


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


# ---------------------------------------------------------------------------------------------------
# What the teacher does in a training
# ---------------------------------------------------------------------------------------------------


def test_losses_equal_mmdetections_detector(tmp_path: Path) -> None:
    """The same losses as MMDetection's detector with its own heads, from the same weights."""
    checkpoint = trained_teacher(tmp_path)
    ours = build(student_config(teacher_config(), checkpoint)).eval()
    stock = student_config(teacher_config(type="mmdet.GFLHead", **STOCK), checkpoint, "mmdet.LDHead")
    stock["type"] = "mmdet.KnowledgeDistillationSingleStageDetector"
    stock["bbox_head"].update(loss_ld=dict(type="mmdet.KnowledgeDistillationKLDivLoss", loss_weight=0.25, T=10))
    stock["bbox_head"].update(STOCK)
    for model in (stock, stock["teacher_config"]["model"]):
        model["train_cfg"]["assigner"]["type"] = "mmdet.ATSSAssigner"
    theirs = build(stock)
    theirs.eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    expected, found = losses_of(theirs), losses_of(ours)
    assert list(expected) == list(found) and sum(found["loss_ld"]) > 0
    for name, levels in expected.items():
        assert found[name] == pytest.approx(levels, rel=1e-4, abs=1e-7), name


def test_a_training_changes_the_student_only(tmp_path: Path) -> None:
    """Two epochs change the student; the teacher's weights and batch statistics stay those of its checkpoint."""
    checkpoint = trained_teacher(tmp_path / "teacher")
    model = student_config(teacher_config(), checkpoint)
    cfg = Config(dict(model=model, default_scope="mmdet"))
    run = runner(tmp_path / "student", samples(1), [], epochs=2, model=model, cfg=cfg)
    before = weights(run)
    run.train()
    teacher = run.model.teacher_model
    assert same(teacher.state_dict(), torch.load(checkpoint, weights_only=True)["state_dict"])
    assert not same(weights(run), before)
    assert not any(module.training for module in teacher.modules())
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in teacher.parameters())
    student = torch.load(tmp_path / "student" / "epoch_2.pth", weights_only=True)["state_dict"]
    assert list(student) == list(build(model_config()).state_dict())  # a GFL detector, without the teacher
    assert len(run.optim_wrapper.optimizer.param_groups[0]["params"]) == len(list(run.model.parameters()))


def test_a_trained_student_loads_into_a_gfl_detector(tmp_path: Path) -> None:
    student = build(student_config(teacher_config()))
    plain = build(model_config())
    plain.load_state_dict(student.state_dict(), strict=True)


def test_the_teacher_is_in_eval_mode_from_the_start() -> None:
    student = build(student_config(teacher_config()))
    assert student.training and not student.teacher_model.training
    assert student.train() is student and not student.teacher_model.training
    assert student.eval() is student and not student.training
    trains = build(student_config(teacher_config(), eval_teacher=False))
    assert trains.teacher_model.training
    assert not trains.eval().teacher_model.training and trains.train().teacher_model.training


@pytest.mark.parametrize("move", [torch.nn.Module.double, lambda model: model.to(torch.float64)], ids=["double", "to"])
def test_the_teacher_follows_the_student(move: Callable) -> None:
    student = move(build(student_config(teacher_config())))
    assert {value.dtype for value in student.teacher_model.parameters()} == {torch.float64}
    assert {value.dtype for value in student.parameters()} == {torch.float64}
    student.to("meta")
    assert {value.device.type for value in student.teacher_model.parameters()} == {"meta"}


# ---------------------------------------------------------------------------------------------------
# Configs and checkpoints that are accepted
# ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given", [TEACHER, str(TEACHER), "gfl_plugin::bccd/gfl_r18w32_bccd.py", Config.fromfile(TEACHER)],
    ids=["path", "file", "name", "config"],
)  # fmt: skip
def test_configs_of_a_teacher(given: object) -> None:
    config = student_config(given)
    config["bbox_head"]["num_classes"] = 3
    assert build(config).teacher_model.backbone.conv1.out_channels == 32


@pytest.mark.parametrize("head", ["gfl_plugin.GFLHead", "mmdet.GFLHead"])
@pytest.mark.parametrize("source", ["gfl_plugin.GFLHead", "mmdet.GFLHead"])
def test_checkpoints_of_both_heads_load_into_both_heads(head: str, source: str, tmp_path: Path) -> None:
    configs = {"gfl_plugin.GFLHead": teacher_config(), "mmdet.GFLHead": teacher_config(type="mmdet.GFLHead", **STOCK)}
    teacher = build(configs[source]["model"]).eval()
    checkpoint = saved(teacher, tmp_path / "teacher.pth")
    student = build(student_config(configs[head], checkpoint))
    assert type(student.teacher_model.bbox_head).__module__.startswith(head.split(".")[0])
    image = torch.rand(1, 3, 96, 96)
    found, expected = (model.bbox_head(model.extract_feat(image)) for model in (student.teacher_model, teacher))
    for ours, theirs in zip(found, expected):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs))


def test_a_teacher_without_a_normalization_of_its_own() -> None:
    """The student's images are all that it gets, so nothing can be compared."""
    config = teacher_config()
    del config["model"]["data_preprocessor"]
    assert sum(losses_of(build(student_config(config)))["loss_ld"]) > 0


def test_weights_of_a_wrapped_model_load(tmp_path: Path) -> None:
    """DataParallel adds "module." to each key."""
    teacher = build(teacher_config()["model"])
    torch.save({f"module.{key}": value for key, value in teacher.state_dict().items()}, tmp_path / "teacher.pth")
    student = build(student_config(teacher_config(), tmp_path / "teacher.pth"))
    assert same(student.teacher_model.state_dict(), teacher.state_dict())


def test_a_published_teacher_loads(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    teacher = build(teacher_config()["model"])
    save_file(teacher.state_dict(), tmp_path / "teacher.safetensors")
    student = build(student_config(teacher_config(), tmp_path / "teacher.safetensors"))
    assert same(student.teacher_model.state_dict(), teacher.state_dict())


# ---------------------------------------------------------------------------------------------------
# Errors
# ---------------------------------------------------------------------------------------------------


def with_strides(strides: list[int]) -> dict:
    config = teacher_config()
    config["model"]["bbox_head"]["anchor_generator"]["strides"] = strides
    config["model"]["neck"]["num_outs"] = len(strides)
    return config


def atss() -> dict:
    model = Config.fromfile(ROOT / "configs" / "_base_" / "small_atss.py").model.to_dict()
    model["bbox_head"]["num_classes"] = 10
    return wider(model)


def normalized(mean: list[float], std: list[float]) -> dict:
    config = teacher_config()
    config["model"]["data_preprocessor"].update(mean=mean, std=std)
    return config


STEP = dict(type="IntegralBBoxCoder", step=0.5)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            student_config(teacher_config(reg_max=8)),
            r"the teacher's sides have 9 bins \(0, 1, ..., 8\), the student's 17 bins \(0, 1, ..., 16\); set "
            "bbox_head.reg_max",
        ),
        (student_config(teacher_config(bbox_coder=STEP)), r"17 bins \(0, 0.5, ..., 8\), the student's 17 bins"),
        (
            student_config(teacher_config(type="mmdet.GFLHead", reg_max=3, **STOCK)),
            r"the teacher's sides have 4 bins \(0, 1, 2, 3\), the student's 17 bins",
        ),
        (
            student_config(with_strides([8, 16, 32, 64])),
            r"the teacher has 4 levels with strides \[8, 16, 32, 64\], the student 5 levels with strides "
            r"\[8, 16, 32, 64, 128\]",
        ),
        (student_config(with_strides([4, 8, 16, 32, 64])), r"the teacher has 5 levels with strides \[4, 8, 16, 32"),
        (
            student_config(teacher_config(bbox_coder=dict(type="DiracBBoxCoder"), loss_dfl=None)),
            "teacher_config builds a SingleStageDetector with bbox_head GFLHead and bbox_coder DiracBBoxCoder",
        ),
        (student_config(atss()), "SingleStageDetector with bbox_head ATSSHead and .*; .*a teacher with a GFLHead"),
        (
            student_config({"model": model_config()["backbone"]}),
            "teacher_config builds a ResNet with bbox_head None; .*a teacher with a GFLHead",
        ),
        (
            student_config(normalized([103.53, 116.28, 123.675], [1.0, 1.0, 1.0])),
            r"trained on images with \(mean, std\) = \(\[103.53, 116.28, 123.675\], \[1.0, 1.0, 1.0\]\), and would get "
            r"the student's images with \(\[123.675, 116.28, 103.53\], \[58.395, 57.12, 57.375\]\)",
        ),
        (student_config({}), "teacher_config has no model, only no key"),
        (student_config({"default_scope": "mmdet"}), "teacher_config has no model, only default_scope"),
        (
            student_config(teacher_config(), head="gfl_plugin.GFLHead"),
            "bbox_head is a GFLHead, which does not learn from a teacher; write bbox_head=dict",
        ),
    ],
)  # fmt: skip
def test_a_teacher_that_does_not_fit(config: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(config)


def test_files_that_do_not_exist(tmp_path: Path) -> None:
    for given in ("nothing.py", "configs/gfl/nothing.py", "mmdet::gfl/nothing.py"):
        with pytest.raises(FileNotFoundError, match=f"teacher_config: config not found: {given}"):
            build(student_config(given))
    missing = tmp_path / "epoch_32.pth"
    with pytest.raises(FileNotFoundError, match=f"teacher_ckpt not found: {missing}; write the file of the teacher's"):
        build(student_config(teacher_config(), missing))
    with pytest.raises(FileNotFoundError, match="teacher_ckpt is empty"):
        build(student_config(teacher_config(), ""))


def test_a_checkpoint_of_another_model(tmp_path: Path) -> None:
    """The message names missing and unexpected keys, and shapes."""
    state = build(teacher_config()["model"]).state_dict()
    cases = {
        "missing keys: bbox_head.gfl_cls.bias. Give": {k: v for k, v in state.items() if k != "bbox_head.gfl_cls.bias"},
        "unexpected keys: bbox_head.extra. Give": {**state, "bbox_head.extra": torch.zeros(1)},
        r"other shapes: backbone.conv1.weight \(16, 3, 7, 7\) instead of \(32, 3, 7, 7\), .* and \d+ more": build(
            model_config()
        ).state_dict(),
        "missing keys: .*bbox_head.*; unexpected keys: .*bbox_head.atss_": build(atss()["model"]).state_dict(),
    }
    for number, (message, weights_) in enumerate(cases.items()):
        path = tmp_path / f"{number}.pth"
        torch.save(dict(state_dict=weights_), path)
        with pytest.raises(
            ValueError, match=f"teacher_ckpt {path} does not fit the model of teacher_config: .*{message}"
        ):
            build(student_config(teacher_config(), path))


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save(dict(state_dict={"a": print}), tmp_path / "teacher.pth")
    with pytest.raises(CheckpointError, match="is refused, and no code from it was run"):
        build(student_config(teacher_config(), tmp_path / "teacher.pth"))


def test_other_map_sizes_are_an_error() -> None:
    """Equal strides in the config do not help if the teacher's neck starts at another level."""
    config = teacher_config()
    config["model"]["neck"].update(start_level=0)
    student = build(student_config(config))
    with pytest.raises(ValueError, match=r"level 0: the teacher's box map has shape \(2, 68, 24, 24\), the student's"):
        losses_of(student)


def test_the_names_are_ours() -> None:
    assert type(build(student_config(teacher_config()))) is KnowledgeDistillationSingleStageDetector
    assert gfl_plugin.KnowledgeDistillationKLDivLoss is gfl_plugin.LocalizationDistillationLoss
