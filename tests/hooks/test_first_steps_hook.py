"""Training without usable objects or with wrong classes gives a warning in its first steps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.structures import InstanceData
from runs import IMAGES, ROOT, model_config, runner, samples
from torch.utils.data import DataLoader

from gfl_plugin.hooks import FirstStepsHook


class Named(list):
    """Samples with metainfo, as in MMDetection's data sets."""

    def __init__(self, items: list[dict], classes: object) -> None:
        super().__init__(items)
        self.metainfo = dict(classes=classes)


DIGITS = tuple("0123456789")


def with_boxes(items: list[dict], boxes: torch.Tensor) -> list[dict]:
    """The samples with other boxes."""
    for item in items:
        labels = torch.zeros(len(boxes), dtype=torch.int64)
        item["data_samples"].gt_instances = InstanceData(bboxes=boxes.clone(), labels=labels)
    return items


NONE, TINY = torch.zeros(0, 4), torch.tensor([[44.5, 44.5, 45.0, 45.0]])


def warnings_of(tmp_path: Path, caplog, items: list[dict], hooks: tuple = (), epochs: int = 1, **settings) -> list[str]:
    loader = DataLoader(items, batch_size=IMAGES, collate_fn=pseudo_collate)
    run = runner(tmp_path, items, list(hooks), epochs, **{"train_dataloader": loader, **settings})
    run.logger.addHandler(caplog.handler)
    run.train()
    assert sum(isinstance(hook, FirstStepsHook) for hook in run.hooks) == 1
    return [record.message for record in caplog.records if record.module == "first_steps_hook"]


def test_valid_data_gives_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert warnings_of(tmp_path, caplog, Named(samples(2), DIGITS)) == []


@pytest.mark.parametrize(
    ("classes", "shown"),
    [
        (("RBC", "WBC", "Platelets"), "3 classes (RBC, WBC, Platelets). Set bbox_head.num_classes=3"),
        (("RBC\x1b",), "1 class (RBC\\x1b). Set bbox_head.num_classes=1"),
        (DIGITS + ("more",), "11 classes (0, 1, 2, 3, 4, …). Set bbox_head.num_classes=11"),
    ],
)
def test_another_number_of_classes(tmp_path: Path, caplog, classes: tuple, shown: str) -> None:
    (said,) = warnings_of(tmp_path, caplog, Named(samples(1), classes))
    assert said.startswith(f"the head has num_classes=10, but the training set has {shown}")


def test_a_class_without_a_comma(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (said,) = warnings_of(tmp_path, caplog, Named(samples(1), "abcdefghij"))
    assert "metainfo.classes is the string 'abcdefghij'; it must be a tuple" in said


@pytest.mark.parametrize(("images", "counted"), [(4, 4), (100, 6)])
def test_no_object_in_the_first_images(tmp_path: Path, caplog, images: int, counted: int) -> None:
    """There is one warning; the hook stops counting at the end of the first epoch."""
    items = Named(with_boxes(samples(3), NONE), DIGITS)
    hook = dict(type="gfl_plugin.FirstStepsHook", images=images)
    (said,) = warnings_of(tmp_path, caplog, items, (hook,), epochs=2)
    assert said.startswith(f"none of the first {counted} training images has an object. The training set has 10 cl")


def test_one_object_is_enough(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    items = [*with_boxes(samples(2), NONE), *samples(1)]
    assert warnings_of(tmp_path, caplog, Named(items, DIGITS), (dict(type="gfl_plugin.FirstStepsHook"),)) == []


@pytest.mark.parametrize(("steps", "counted"), [(2, 2), (50, 3)])
def test_no_positive_in_the_first_steps(tmp_path: Path, caplog, steps: int, counted: int) -> None:
    """Objects between the centers of two locations have none; the hook stops counting at the end of training."""
    items = Named(with_boxes(samples(3), TINY), DIGITS)
    hook = dict(type="gfl_plugin.FirstStepsHook", steps=steps)
    (said,) = warnings_of(tmp_path, caplog, items, (hook,))
    assert said.startswith(f"no object was assigned to a location in the first {counted} steps (loss_bbox was 0), alth")
    assert f"{counted * IMAGES} objects" in said


def test_other_heads_give_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = Config.fromfile(ROOT / "configs" / "_base_" / "small_atss.py").model.to_dict()
    model["bbox_head"]["num_classes"] = 10
    items = Named(with_boxes(samples(1), NONE), ("one",))
    assert warnings_of(tmp_path, caplog, items, model=model, cfg=Config(dict(model=model))) == []


def test_a_head_inside_of_another_model(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """MMDetection's heads with the joint score are checked, too."""
    model = model_config()
    head = model["bbox_head"]
    model["bbox_head"] = dict(
        type="gfl_plugin.RetinaQFLHead",
        num_classes=10,
        in_channels=head["in_channels"],
        anchor_generator=head["anchor_generator"],
        bbox_coder=dict(type="mmdet.DeltaXYWHBBoxCoder"),
        loss_bbox=dict(type="mmdet.L1Loss"),
    )
    assigner = dict(type="mmdet.MaxIoUAssigner", pos_iou_thr=0.5, neg_iou_thr=0.4, ignore_iof_thr=-1)
    model["train_cfg"] = dict(
        assigner=assigner, sampler=dict(type="mmdet.PseudoSampler"), allowed_border=-1, pos_weight=-1
    )
    (said,) = warnings_of(tmp_path, caplog, Named(samples(1), ("one",)), model=model, cfg=Config(dict(model=model)))
    assert "num_classes=10" in said
