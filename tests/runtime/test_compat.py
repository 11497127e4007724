"""NMS without compiled ops is exact, other ops name the installation command, and checkpoints load safely."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from cases import random_boxes
from mmcv.ops import batched_nms
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer

from gfl_plugin.runtime.compat import mmcv_ops

SSD_ANCHORS = dict(
    type="SSDAnchorGenerator", strides=[8, 16], ratios=[[2], [2]], min_sizes=[10, 20], max_sizes=[20, 40]
)
ext = sys.modules["mmcv._ext"]
COMPILED = ext.__file__ is not None if hasattr(ext, "__file__") else False
needs_compiled = pytest.mark.skipif(not COMPILED, reason="mmcv has no compiled ops here; GFL_MMCV_WHEEL names a build")
needs_stand_in = pytest.mark.skipif(COMPILED, reason="mmcv has compiled ops here, and they are used")


def greedy(boxes: torch.Tensor, scores: torch.Tensor, threshold: float, offset: int) -> list[int]:
    """NMS by its definition, one box at a time."""
    kept: list[int] = []
    areas = (boxes[:, 2] - boxes[:, 0] + offset) * (boxes[:, 3] - boxes[:, 1] + offset)
    for index in scores.argsort(descending=True, stable=True).tolist():
        low = torch.maximum(boxes[index, :2], boxes[kept, :2])
        high = torch.minimum(boxes[index, 2:], boxes[kept, 2:])
        shared = (high - low + offset).clamp(min=0).prod(dim=1)
        if not (shared / (areas[index] + areas[kept] - shared) > threshold).any():
            kept.append(index)
    return kept


@pytest.mark.parametrize("count", [0, 1, 7, 300, 1100])
@pytest.mark.parametrize("offset", [0, 1])
def test_nms_is_greedy(count: int, offset: int) -> None:
    """Counts include more than one block; clusters cause long chains of suppression."""
    boxes = random_boxes(count, 60, 80) if count < 1000 else random_boxes(count, 300, 300)
    scores = torch.rand(count)
    for threshold in (0.3, 0.6) if count < 1000 else (0.5,):
        assert mmcv_ops.nms(boxes, scores, threshold, offset).tolist() == greedy(boxes, scores, threshold, offset)


def test_nms_of_identical_and_empty_boxes() -> None:
    boxes = torch.tensor([[1.0, 1.0, 5.0, 5.0]]).repeat(700, 1)
    boxes[-2:] = 3.0  # no area: an IoU of 0/0 suppresses nothing
    assert mmcv_ops.nms(boxes, torch.linspace(1, 0.1, 700), 0.5).tolist() == [0, 698, 699]


@needs_compiled
@pytest.mark.parametrize("count", [1, 50, 1500])
def test_nms_equals_the_compiled_op(count: int) -> None:
    boxes, scores = random_boxes(count, 200, 200), torch.rand(count)
    for offset in (0, 1):
        expected = ext.nms(boxes, scores, iou_threshold=0.5, offset=offset)
        assert mmcv_ops.nms(boxes, scores, 0.5, offset).tolist() == expected.tolist()


@needs_compiled
@pytest.mark.parametrize("method", [0, 1, 2])
def test_softnms_equals_the_compiled_op(method: int) -> None:
    boxes, scores = random_boxes(80, 100, 100), torch.rand(80)
    dets = [torch.zeros(80, 5), torch.zeros(80, 5)]
    settings = dict(iou_threshold=0.3, sigma=0.5, min_score=1e-2, method=method, offset=0)
    expected = ext.softnms(boxes, scores, dets[0], **settings)
    found = mmcv_ops.softnms(boxes, scores, dets[1], **settings)
    assert found.tolist() == expected.tolist()
    assert torch.allclose(dets[0][: len(found)], dets[1][: len(found)], atol=1e-6)


@needs_compiled
def test_compiled_ops_are_not_replaced() -> None:
    assert not isinstance(ext, mmcv_ops._OpsStandIn)


@pytest.mark.parametrize("method", [0, 1, 2])
def test_softnms_of_three_boxes(method: int) -> None:
    """Scores are those of the definition for two boxes with an IoU of 1/3 and one separate box."""
    boxes = torch.tensor([[0.0, 0.0, 2.0, 1.0], [1.0, 0.0, 3.0, 1.0], [10.0, 0.0, 11.0, 1.0]])
    dets = torch.zeros(3, 5)
    kept = mmcv_ops.softnms(boxes, torch.tensor([0.9, 0.8, 0.3]), dets, 0.3, 0.5, 0.05, method, 0)
    decayed = {0: 0.0, 1: 0.8 * 2 / 3, 2: 0.8 * float(torch.exp(torch.tensor(-(1 / 9) / 0.5)))}[method]
    expected = {0: 0.9, 1: decayed, 2: 0.3}
    order = sorted((box for box, score in expected.items() if score >= 0.05), key=lambda box: -expected[box])
    assert kept.tolist() == order
    assert dets[: len(order), 4].tolist() == pytest.approx([expected[box] for box in order])


@needs_stand_in
def test_mmcvs_batched_nms_runs_on_the_stand_in() -> None:
    boxes, scores, labels = random_boxes(40, 50, 50), torch.rand(40), torch.randint(0, 3, (40,))
    dets, kept = batched_nms(boxes, scores, labels, dict(type="nms", iou_threshold=0.5))
    expected = [index for label in range(3) for index in _of_class(boxes, scores, labels, label)]
    assert sorted(kept.tolist()) == sorted(expected)
    soft, _ = batched_nms(boxes, scores, labels, dict(type="soft_nms", iou_threshold=0.5, min_score=0.0))
    assert len(soft) == 40 and (soft[:, 4].diff() <= 0).all()


def _of_class(boxes: torch.Tensor, scores: torch.Tensor, labels: torch.Tensor, label: int) -> list[int]:
    index = (labels == label).nonzero().squeeze(1)
    return index[greedy(boxes[index], scores[index], 0.5, 0)].tolist()


@needs_stand_in
def test_errors_of_other_ops_name_the_op_and_the_installation_command() -> None:
    from mmcv.ops import RoIAlign

    with pytest.raises(NotImplementedError, match="'roi_align_forward'.*pip install .*mmcv"):
        RoIAlign((2, 2))(torch.zeros(1, 1, 4, 4), torch.tensor([[0.0, 0.0, 0.0, 2.0, 2.0]]))


def test_history_buffers_load_with_weights_only(tmp_path) -> None:
    buffer = HistoryBuffer([1.0, 2.5], [1, 1])
    torch.save({"scalars": {"loss": buffer}}, tmp_path / "checkpoint.pth")
    loaded = torch.load(tmp_path / "checkpoint.pth", weights_only=True)
    assert loaded["scalars"]["loss"].data[0].tolist() == [1.0, 2.5]


class _Attribute:
    def __init__(self, owner: object, name: str) -> None:
        self.arguments = (owner, name)

    def __reduce__(self):
        return (getattr, self.arguments)


@pytest.mark.parametrize(
    ("owner", "name"), [(HistoryBuffer, "__init__"), (HistoryBuffer, "update"), (torch.Tensor, "min")]
)
def test_other_uses_of_getattr_in_a_checkpoint_are_refused(tmp_path, owner: object, name: str) -> None:
    torch.save({"attribute": _Attribute(owner, name)}, tmp_path / "checkpoint.pth")
    with pytest.raises(Exception, match="which is refused|[Ww]eights.only"):
        torch.load(tmp_path / "checkpoint.pth", weights_only=True)


class _Evil:
    def __reduce__(self):
        return (print, ("this code must not run",))


def test_other_classes_are_still_refused(tmp_path, capsys) -> None:
    torch.save({"evil": _Evil()}, tmp_path / "checkpoint.pth")
    with pytest.raises(Exception, match="[Ww]eights.only"):
        torch.load(tmp_path / "checkpoint.pth", weights_only=True)
    assert "must not run" not in capsys.readouterr().out


def test_an_import_prints_one_short_line_to_stderr() -> None:
    code = "import gfl_plugin; gfl_plugin.compat.prepare(); gfl_plugin.compat.prepare(); print(7)"
    output = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert output.stdout == "7\n"  # stdout contains the tool's output only
    (line,) = output.stderr.splitlines()
    assert line.startswith("gfl_plugin: applied ") and len(line) <= 100


def test_numpy_without_core_multiarray_is_enough() -> None:
    """The plugin can be imported with NumPy 1.26, whose numpy._core is empty."""
    code = "import mmengine.runner, sys, numpy; vars(sys.modules.get('numpy._core', numpy)).pop('multiarray', 0); "
    output = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code + "import gfl_plugin"], capture_output=True, text=True
    )
    assert output.returncode == 0, output.stderr


def test_the_line_has_info_level_and_its_details_are_available() -> None:
    code = (
        "import logging; logging.getLogger('gfl_plugin').setLevel('WARNING'); import gfl_plugin; "
        "print('; '.join(gfl_plugin.compat.prepare()))"
    )
    output = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert output.stderr == "" and "HistoryBuffer" in output.stdout


def test_an_ssd_head_predicts() -> None:
    """SSDHead predicts; in MMDetection 3.3.0 it reads an attribute loss_cls that it does not have."""
    head = MODELS.build(dict(type="SSDHead", num_classes=3, in_channels=(4, 4), anchor_generator=SSD_ANCHORS))
    outputs = head([torch.randn(1, 4, 8, 8), torch.randn(1, 4, 4, 4)])
    settings = ConfigDict(score_thr=0.02, nms_pre=100, nms=dict(type="nms", iou_threshold=0.5), max_per_img=10)
    metas = [dict(img_shape=(64, 64), scale_factor=(1.0, 1.0))]
    (found,) = head.predict_by_feat(*outputs, batch_img_metas=metas, cfg=settings)
    assert len(found) == 10
