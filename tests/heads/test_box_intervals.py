"""Intervals in results are the calibrated margins around each box, and only for the head they were calibrated for."""

from __future__ import annotations

import copy
import json
import pickle
import re
from pathlib import Path

import pytest
import torch
from cases import SCOPE, Recipe, build_head, head_config, our_head, random_batch
from heads.test_box_uncertainty import CODERS, GREEDY, KINDS_OF_NMS, assert_equal, maps_for
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from gfl_plugin.heads import box_intervals
from gfl_plugin.heads.box_intervals import calibration_text, fingerprint, population_of, read_calibration
from gfl_plugin.structures.calibration import Calibration

CLASSES = tuple("abcdefg")
QUANTILES = {
    None: {"all": (0.5, 1.0, 1.5, 200.0)},
    "class": {"all": (0.5, 1.0, 1.5, 2.0), "b": (3.0, 0.0, 0.25, 1.0), "g": (0.1, 0.2, 0.3, 0.4)},
    "size": {"all": (0.5, 1.0, 1.5, 2.0), "small": (3.0, 0.0, 0.25, 1.0), "large": (0.1, 0.2, 0.3, 0.4)},
}
DIRAC = dict(type="DiracBBoxCoder")
SMALL = Recipe(height=96, width=128)
NEW_FIELDS = {"bbox_inner", "bbox_outer"}


def calibration_for(head, **changes: object) -> Calibration:
    """A calibration that a head accepts."""
    valid = dict(
        level=0.9,
        statement="box",
        unit="std",
        quantiles=QUANTILES[changes.get("group_by")],
        classes=CLASSES,
        head=fingerprint(head),
        iou_thr=0.5,
        test_cfg=population_of(head.test_cfg),
        about=dict(checkpoint="epoch_12.pth"),
    )
    return Calibration(**{**valid, **changes})


def head_with(coder: dict = CODERS[0], **test_cfg: object):
    """A small head with a box coder, and few detections per image."""
    few = dict(nms_pre=100, max_per_img=40)
    return our_head(bbox_coder=dict(coder), loss_dfl="by_coder", test_cfg={**few, **test_cfg})


def use(head, path: Path, **changes: object) -> Path:
    """Write a calibration of the head into a file, and name it in its test settings."""
    path.write_text(calibration_text(calibration_for(head, **changes)))
    head.test_cfg.intervals = str(path)
    return path


def predict(head, maps: tuple, **changes: object) -> list[InstanceData]:
    scores, boxes, metas = maps
    return head.predict_by_feat(scores, boxes, batch_img_metas=metas, **{"rescale": True, **changes})


def expected_intervals(found: InstanceData, unit: str, group_by: str | None) -> tuple[Tensor, Tensor]:
    """By definition, in fp64, from boxes, labels and standard deviations: (N, 4) inner and outer boxes."""
    inner, outer = [], []
    std = found.bbox_std.tolist() if unit == "std" else [None] * len(found)
    for (x1, y1, x2, y2), label, deviations in zip(found.bboxes.tolist(), found.labels.tolist(), std):
        width, height = x2 - x1, y2 - y1
        area = width * height
        size = "small" if area < 32**2 else "medium" if area < 96**2 else "large"
        name = {None: "all", "class": CLASSES[label], "size": size}[group_by]
        quantiles = QUANTILES[group_by].get(name, QUANTILES[group_by]["all"])
        units = {"std": deviations, "size": [width, height] * 2, "constant": [1.0] * 4}[unit]
        left, top, right, bottom = (q * one for q, one in zip(quantiles, units))
        x, y = (x1 + x2) / 2, (y1 + y2) / 2
        inner.append([min(x1 + left, x), min(y1 + top, y), max(x2 - right, x), max(y2 - bottom, y)])
        outer.append([x1 - left, y1 - top, x2 + right, y2 + bottom])
    return tuple(torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4) for boxes in (inner, outer))


UNITS_OF_CODERS = [(coder, unit) for coder in CODERS for unit in ("std", "size", "constant")]
UNITS_OF_CODERS += [(DIRAC, "size"), (DIRAC, "constant")]


@pytest.mark.parametrize("group_by", [None, "class", "size"])
@pytest.mark.parametrize(
    ("coder", "unit"),
    UNITS_OF_CODERS,
    ids=lambda one: one if isinstance(one, str) else one["type"] + ("_geometric" if "bins" in one else ""),
)
def test_intervals_are_those_of_the_definition(coder: dict, unit: str, group_by: str | None, tmp_path: Path) -> None:
    """Boxes, scores and labels are the same bits as without them; ``bbox_std`` is not there unless it is asked for."""
    head = head_with(coder)
    maps = maps_for(head, SMALL)
    widths_and_heights = [meta["scale_factor"] for meta in maps[2]]
    assert all(abs(width - height) > 0.01 for width, height in widths_and_heights)
    plain = predict(head, maps)
    use(head, tmp_path / "calibration.json", unit=unit, group_by=group_by)
    found = predict(head, maps)
    head.test_cfg.with_uncertainty = coder is not DIRAC
    for one, two, three in zip(plain, found, predict(head, maps)):
        assert len(one) > 5 and set(two.keys()) == {*one.keys(), *NEW_FIELDS}
        assert all(torch.equal(values, two[name]) for name, values in one.items())
        assert all(torch.equal(values, three[name]) for name, values in two.items())
        assert set(three.keys()) - set(two.keys()) == (set() if coder is DIRAC else {"bbox_std"})
        for name, boxes in zip(("bbox_inner", "bbox_outer"), expected_intervals(three, unit, group_by)):
            assert torch.allclose(two[name].double(), boxes, rtol=1e-5, atol=1e-3), name
            assert two[name].dtype == torch.float32


@pytest.mark.parametrize("nms", KINDS_OF_NMS, ids=["greedy", "class_agnostic", "mmcv", "soft"])
@pytest.mark.parametrize("with_nms", [True, False])
def test_intervals_stay_with_their_box(nms: dict, with_nms: bool, tmp_path: Path) -> None:
    """For all kinds of NMS, also where the unit needs the numbers that a box was decoded from."""
    head = head_with(with_uncertainty=True, min_bbox_size=5, max_per_img=30)
    head.test_cfg.nms = ConfigDict(nms)
    use(head, tmp_path / "calibration.json", group_by="class")
    for found in predict(head, maps_for(head, SMALL), with_nms=with_nms):
        assert len(found) <= 30 or not with_nms
        for name, boxes in zip(("bbox_inner", "bbox_outer"), expected_intervals(found, "std", "class")):
            assert torch.allclose(found[name].double(), boxes, rtol=1e-5, atol=1e-3), name


@pytest.mark.parametrize("changes", [dict(quality=dict(type="DistributionGuidedQuality")), dict(type=SCOPE + "LDHead")])
def test_gflv2_and_a_student_have_intervals(changes: dict, tmp_path: Path) -> None:
    head = build_head(head_config(**{"type": SCOPE + "GFLHead", **changes})).eval()
    with torch.no_grad():
        head.gfl_cls.bias.fill_(0.5)
        outputs = head([torch.randn(2, 8, *level.shape[2:]) for level in random_batch(SMALL).cls_scores])
    metas = random_batch(SMALL).img_metas
    plain = head.predict_by_feat(*outputs, batch_img_metas=metas, rescale=True)
    use(head, tmp_path / "calibration.json")
    settings = ConfigDict({**head.test_cfg, "with_uncertainty": True})
    for one, two in zip(plain, head.predict_by_feat(*outputs, batch_img_metas=metas, rescale=True, cfg=settings)):
        assert len(one) > 5 and all(torch.equal(values, two[name]) for name, values in one.items())
        for name, boxes in zip(("bbox_inner", "bbox_outer"), expected_intervals(two, "std", None)):
            assert torch.allclose(two[name].double(), boxes, rtol=1e-5, atol=1e-3), name


def test_without_a_file_nothing_is_read_and_no_field_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise AssertionError("called")

    for name in ("read_calibration", "fingerprint", "interval_fields", "_version"):
        monkeypatch.setattr(box_intervals, name, fail)
    monkeypatch.setattr("gfl_plugin.heads.prediction.interval_fields", fail)
    head = head_with()
    maps = maps_for(head, SMALL)
    plain = predict(head, maps)
    head.test_cfg.intervals = None
    for rescale in (True, False):
        assert all(set(one.keys()) == {"bboxes", "scores", "labels"} for one in predict(head, maps, rescale=rescale))
    for one, two in zip(plain, predict(head, maps)):
        assert_equal(one, two)


@pytest.mark.parametrize("unit", ["std", "size"])
def test_images_without_detections_have_empty_intervals(unit: str, tmp_path: Path) -> None:
    head = head_with()
    use(head, tmp_path / "calibration.json", unit=unit, group_by="size")
    scores, boxes, metas = maps_for(head, SMALL)
    for level in scores:
        level[0] = -20
    nothing, found = predict(head, (scores, boxes, metas))
    assert nothing.bbox_inner.shape == nothing.bbox_outer.shape == (0, 4) and len(found.bbox_inner) > 5
    for level in scores:
        level[:] = -20
    assert [one.bbox_outer.shape for one in predict(head, (scores, boxes, metas))] == [(0, 4)] * 2
    assert predict(head, ([level[:0] for level in scores], [level[:0] for level in boxes], [])) == []


def test_boxes_of_mmdetections_type_have_the_same_intervals(tmp_path: Path) -> None:
    head, other = head_with(), head_with({**CODERS[0], "use_box_type": True})
    other.load_state_dict(head.state_dict())
    maps = maps_for(head, SMALL)
    for own in (head, other):
        use(own, tmp_path / "calibration.json")
    for one, two in zip(predict(head, maps), predict(other, maps)):
        assert isinstance(two.bboxes, HorizontalBoxes) and torch.equal(two.bboxes.tensor, one.bboxes)
        assert torch.equal(two.bbox_inner, one.bbox_inner) and torch.equal(two.bbox_outer, one.bbox_outer)


# --- files ---------------------------------------------------------------------------------------------------------


def test_a_file_gives_the_calibration_back(tmp_path: Path) -> None:
    for group_by in (None, "class", "size"):
        calibration = calibration_for(head_with(), group_by=group_by, unit="size", statement="side")
        (tmp_path / "one.json").write_text(calibration_text(calibration))
        assert read_calibration(tmp_path / "one.json") == calibration


def changed_file(**changes: object) -> str:
    """The text of a calibration file with other entries; None removes one."""
    content = {**json.loads(calibration_text(calibration_for(head_with()))), **changes}
    return json.dumps({name: value for name, value in content.items() if value is not None})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\x00", "is not a JSON file; write one with: gfl-plugin calibrate CONFIG CHECKPOINT"),
        ("", "is not a JSON file; write one with: gfl-plugin calibrate"),
        ("[]", 'has no "format": "gfl_plugin.calibration/1"; write one with: gfl-plugin calibrate'),
        ('{"level": 0.9}', 'has no "format": "gfl_plugin.calibration/1"'),
        (changed_file(format="gfl_plugin.calibration/2"), 'has no "format": "gfl_plugin.calibration/1"'),
        (changed_file(level=None), "is damaged (Calibration.__init__() missing 1 required positional argument"),
        (changed_file(quantiles=None), "is damaged ('quantiles'); write one with"),
        (changed_file(classes=None), "is damaged ('classes'); write one with"),
        (changed_file(quantiles=[1, 2]), "is damaged ("),
        (changed_file(quantiles={"all": [1, 2, 3]}), "is damaged (quantiles is {'all': (1, 2, 3)}; it must be four"),
        (changed_file(quantiles={"all": [1, 2, 3, -1]}), "is damaged (quantiles is {'all': (1, 2, 3, -1)}; "),
        (changed_file(quantiles={"all": [1, 2, 3, float("nan")]}), "is damaged (quantiles is {'all': (1, 2, 3, nan)}"),
        (changed_file(quantiles={"all": [1] * 4, "z": [1] * 4}), "is damaged (quantiles has z; the groups are "),
        (changed_file(unit="sigma"), "is damaged (unit is 'sigma'; it must be one of std, size, constant)"),
        (changed_file(level=1.5), "is damaged (level is 1.5; it must be a number between 0 and 1)"),
        (changed_file(more=1), "is damaged (Calibration.__init__() got an unexpected keyword argument 'more')"),
        (changed_file(about=[1]), "is damaged (about is [1]; it must be a mapping)"),
    ],
    ids=lambda one: one[:40],
)
def test_a_damaged_file_is_an_error(text: str, message: str, tmp_path: Path) -> None:
    """It names the setting, the file, what is wrong, and what writes such a file."""
    path = tmp_path / "calibration.json"
    path.write_text(text)
    head = head_with(intervals=str(path))
    for _ in range(2):  # a failed check is not taken for a passed one
        with pytest.raises(ValueError) as raised:
            predict(head, maps_for(head, SMALL))
        assert f"test_cfg.intervals: {path} {message}" in str(raised.value)


def test_a_binary_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(bytes(range(256)))
    with pytest.raises(ValueError, match="weights.pth is not a JSON file"):
        read_calibration(tmp_path / "weights.pth")


@pytest.mark.parametrize("value", [True, 0.9, ["calibration.json"], dict(level=0.9)])
def test_a_value_that_is_not_a_path_is_an_error(value: object) -> None:
    head = head_with(intervals=value)
    message = f"test_cfg.intervals is {value!r}; it must be the path of a file that gfl-plugin calibrate has written"
    with pytest.raises(ValueError, match=re.escape(message)):
        predict(head, maps_for(head, SMALL))


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path, Path("")):
        head = head_with(intervals=str(path))
        with pytest.raises(FileNotFoundError) as raised:
            predict(head, maps_for(head, SMALL))
        assert f"test_cfg.intervals: file not found: {path}; write one with: gfl-plugin calib" in str(raised.value)


# --- another model than the calibrated one -------------------------------------------------------------------------


def test_another_number_of_classes_is_an_error(tmp_path: Path) -> None:
    head = head_with()
    path = use(head, tmp_path / "calibration.json", classes=tuple("abcdefgh"))
    with pytest.raises(ValueError) as raised:
        predict(head, maps_for(head, SMALL))
    assert f"{path} was calibrated for 8 classes (a, b, c, d, e, …), but the head has num_classes=7" in str(
        raised.value
    )


def assert_other_weights(head, maps: tuple, path: Path) -> None:
    with pytest.raises(ValueError) as raised:
        predict(head, maps)
    message = f"{path} was calibrated for other weights (checkpoint epoch_12.pth); its guarantee does not hold"
    assert message in str(raised.value) and "gfl-plugin calibrate CONFIG CHECKPOINT" in str(raised.value)


def train(head) -> None:
    """One step of an optimizer."""
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
    sum(weight.square().sum() for weight in head.parameters()).backward()
    optimizer.step()


def load(head) -> None:
    head.load_state_dict(head_with().state_dict())


def load_by_assignment(head) -> None:
    head.load_state_dict(head_with().state_dict(), assign=True)


def change_in_place(head) -> None:
    with torch.no_grad():
        head.gfl_reg.bias[0] += 1


@pytest.mark.parametrize("change", [train, load, load_by_assignment, change_in_place])
def test_weights_that_change_after_a_prediction_are_noticed(change, tmp_path: Path) -> None:
    head = head_with()
    path, maps = use(head, tmp_path / "calibration.json"), maps_for(head, SMALL)
    predict(head, maps)
    change(head)
    assert_other_weights(head, maps, path)
    use(head, path)  # calibrated again
    predict(head, maps)


def test_other_weights_are_an_error_from_the_start(tmp_path: Path) -> None:
    head, other = head_with(), head_with()
    path = use(head, tmp_path / "calibration.json")
    other.test_cfg.intervals = str(path)
    assert_other_weights(other, maps_for(other, SMALL), path)


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    head = head_with()
    path, maps = use(head, tmp_path / "calibration.json", unit="constant"), maps_for(head, SMALL)
    for margin in (5.0, 7.0):
        use(head, path, unit="constant", quantiles={"all": (margin,) * 4})
        for found in predict(head, maps):
            assert torch.equal(found.bbox_outer, found.bboxes + torch.tensor([-margin, -margin, margin, margin]))


def test_the_file_and_the_weights_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    read = box_intervals.read_calibration
    monkeypatch.setattr(box_intervals, "read_calibration", lambda path: reads.append(path) or read(path))
    head = head_with()
    use(head, tmp_path / "calibration.json")
    maps = maps_for(head, SMALL)
    for _ in range(3):
        predict(head, maps)
    assert len(reads) == 1


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda head: pickle.loads(pickle.dumps(head))])
def test_a_copy_of_the_head_predicts_the_same_and_is_checked_itself(copied, tmp_path: Path) -> None:
    head = head_with()
    path, maps = use(head, tmp_path / "calibration.json"), maps_for(head, SMALL)
    before = predict(head, maps)
    other = copied(head)
    for one, two in zip(before, predict(other, maps)):
        assert_equal(one, two)
    train(other)
    assert_other_weights(other, maps, path)
    predict(head, maps)


def test_a_copy_in_fp16_accepts_the_file(tmp_path: Path) -> None:
    head = head_with()
    path, maps = use(head, tmp_path / "calibration.json"), maps_for(head, SMALL)
    half = copy.deepcopy(head).half()
    for found in predict(half, ([one.half() for one in maps[0]], [one.half() for one in maps[1]], maps[2])):
        assert found.bbox_inner.dtype == found.bbox_outer.dtype == torch.float32 and len(found) > 5
    change_in_place(half)
    assert_other_weights(half, maps, path)


def test_a_head_of_inference_mode_has_intervals(tmp_path: Path) -> None:
    """Its weights have no version."""
    with torch.inference_mode():
        head = head_with()
        use(head, tmp_path / "calibration.json")
        maps = maps_for(head, SMALL)
        (one, _), (two, _) = predict(head, maps), predict(head, maps)
        assert torch.equal(one.bbox_outer, two.bbox_outer) and len(one) > 5


def test_autocast_does_not_change_intervals(tmp_path: Path) -> None:
    head = head_with()
    use(head, tmp_path / "calibration.json")
    maps = maps_for(head, SMALL)
    plain = predict(head, maps)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = predict(head, maps)
    for one, two in zip(plain, found):
        assert_equal(one, two)


def test_a_head_without_deviations_refuses_margins_in_them(tmp_path: Path) -> None:
    head = head_with(DIRAC)
    use(head, tmp_path / "calibration.json", unit="std")
    with pytest.raises(ValueError) as raised:
        predict(head, maps_for(head, SMALL))
    assert "bbox_std need standard deviations, which boxes of a DiracBBoxCoder do not have" in str(raised.value)
    assert "(GaussianBBoxCoder, IntegralBBoxCoder)" in str(raised.value) and "--unit size" in str(raised.value)


def test_without_rescaling_intervals_are_an_error(tmp_path: Path) -> None:
    head = head_with()
    use(head, tmp_path / "calibration.json")
    with pytest.raises(ValueError, match="test_cfg.intervals is set, but boxes are not rescaled.*rescale=True"):
        predict(head, maps_for(head, SMALL), rescale=False)


def test_other_settings_of_detections_are_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is logged once, names what differs, and does not name equal settings of another type."""
    logged = []
    monkeypatch.setattr(box_intervals, "print_log", lambda message, **_: logged.append(message))
    head = head_with()
    use(head, tmp_path / "calibration.json")
    maps = maps_for(head, SMALL)
    predict(head, maps)
    head.test_cfg.update(nms=ConfigDict(GREEDY), with_distributions=True)  # as before
    predict(head, maps)
    assert not logged
    head.test_cfg.update(score_thr=0.1, max_per_img=35)
    for _ in range(3):
        predict(head, maps)
    (message,) = logged
    assert f"{tmp_path / 'calibration.json'} was calibrated with other settings of test_cfg: score_thr=" in message
    assert "now 0.1, max_per_img=" in message and "now 35. Its level may not hold" in message
    assert "nms" not in message and "min_bbox_size" not in message
