"""``gfl-plugin init`` writes a config that MMDetection trains with, with settings for the data."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

import gfl_plugin  # noqa: F401  # isort: skip

pytest.importorskip("globox")

from labelled_folders import CLASSES, WRITERS, Split, truths, write_folder
from mmdet.registry import DATASETS, MODELS
from mmengine.model import bias_init_with_prob
from mmengine.registry import init_default_scope
from tool import run_tool

from gfl_plugin import cli
from gfl_plugin.analysis.data_check.level_choice import choose_levels
from gfl_plugin.commands.swap import HEADS
from gfl_plugin.projects.config_difference import config_difference
from gfl_plugin.projects.init_project.image_scale import image_scale
from gfl_plugin.projects.init_project.labelled_set import LabelledSet, Place
from gfl_plugin.projects.init_project.project_model import ProjectModel, model_changes
from gfl_plugin.projects.init_project.schedule import schedule_for
from gfl_plugin.projects.swap_head import swap_head

pytestmark = pytest.mark.once
ROOT = Path(__file__).resolve().parents[2]
SMALL = ("--model", "r18", "--from-scratch")


def init(folder: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> Config:
    """Run the command in a new folder, and load the config."""
    monkeypatch.chdir(folder)
    assert cli.main(["init", "data", "-o", "my.py", *words]) == 0
    return Config.fromfile(folder / "my.py")


@pytest.mark.parametrize("form", WRITERS)
def test_mmdetection_loads_the_images_and_objects(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    write_folder(tmp_path / "data", form)
    cfg = init(tmp_path, monkeypatch, *SMALL)
    init_default_scope("mmdet")
    for split, expected in (("train", truths(10)), ("val", truths(4, 1, "other")), ("test", truths(4, 1, "other"))):
        dataset = DATASETS.build(cfg[f"{split}_dataloader"].dataset)
        assert dataset.metainfo["classes"] == CLASSES
        shift = 1 if form == "voc" else 0  # XMLDataset counts pixels from 1, as VOC does
        for number in range(len(dataset)):
            info = dataset.get_data_info(number)
            boxes = [
                (CLASSES[one["bbox_label"]], *(round(side + shift, 3) for side in one["bbox"]))
                for one in info["instances"]
            ]
            assert sorted(boxes) == sorted(expected.pop(Path(info["img_path"]).stem))
            assert dataset[number]["inputs"].shape[-1] == cfg.image_size
        assert not expected
    assert cfg.model.bbox_head.num_classes == 2
    printed = capsys.readouterr().out
    assert "gfl-plugin train my.py" in printed and f"work_dirs/my/epoch_{cfg.max_epochs}.pth -o report" in printed


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(("size", "from_scratch"), [("r18", True), ("r18", False), ("r50", True), ("r50", False)])
def test_the_config_has_the_head_that_swap_gives(head: str, size: str, from_scratch: bool) -> None:
    """What the config leaves out is the default of the head: both build the same layers and losses."""
    model = ProjectModel(size, from_scratch, head, 5, fine=True, head_settings=dict(loss_cls=dict(loss_weight=1.5)))
    base = Config.fromfile(gfl_plugin.find_config(model.base))
    base.default_scope = "mmdet"
    base.merge_from_dict(dict(model=model_changes(model)))
    wanted = swap_head(base, head, loss_cls=dict(loss_weight=1.5))
    for cfg in (base, wanted):
        cfg.model.backbone.init_cfg = None
    init_default_scope("mmdet")
    built, expected = (MODELS.build(cfg.model) for cfg in (base, wanted))
    assert str(built) == str(expected)
    assert built.bbox_head.num_classes == 5 and built.bbox_head.loss_cls.loss_weight == 1.5
    assert [stride[0] for stride in built.bbox_head.prior_generator.strides] == [4, 8, 16, 32, 64]


def test_geometric_bins_reach_the_head() -> None:
    """Bins that a proposal for long sides has, in a config that inherits from the base."""
    coder = dict(type="gfl_plugin.IntegralBBoxCoder", bins=dict(spacing="geometric", last=60, first_step=1))
    model = ProjectModel("r18", True, "gflv2", 2, head_settings=dict(reg_max=16, bbox_coder=coder))
    cfg = Config.fromfile(gfl_plugin.find_config(model.base))
    cfg.merge_from_dict(dict(model=model_changes(model)))
    init_default_scope("mmdet")
    head = MODELS.build(cfg.model).bbox_head
    assert (head.bbox_coder.reg_max, head.bbox_coder.last) == (16, 60.0)


def test_pretrained_weights_are_the_default() -> None:
    for size in ("r18", "r50"):
        cfg = Config.fromfile(gfl_plugin.find_config(ProjectModel(size, False, "gfl", 1).base))
        depth = {"r18": 18, "r50": 50}[size]
        assert cfg.model.backbone.depth == depth and f"resnet{depth}-" in cfg.model.backbone.init_cfg.checkpoint
    scratch = model_changes(ProjectModel("r50", True, "gfl", 1))["backbone"]
    assert scratch == dict(init_cfg=None, frozen_stages=-1, norm_eval=False)


def labelled(sizes: list[tuple[float, float]], image: tuple[int, int] = (640, 480)) -> LabelledSet:
    """One image with objects of some sizes."""
    entry = dict(id=1, file_name="a.jpg", width=image[0], height=image[1])
    boxes = [dict(id=n, image_id=1, category_id=0, bbox=[0, 0, *size]) for n, size in enumerate(sizes, 1)]
    return LabelledSet("train", (entry,), tuple(boxes), (dict(id=0, name="a"),), Place("coco", Path()))


def test_the_image_size_makes_objects_large_enough() -> None:
    """32 px for objects of 20 of 640 px needs a factor of 1.6; more is limited by memory and by the files."""
    assert image_scale(labelled([(20, 20)] * 10), 1344).side == 1024
    assert image_scale(labelled([(20, 20)] * 10), 800).side == 800
    assert image_scale(labelled([(2, 2)] * 10), 5000).side == 1280  # twice the size of the files
    assert image_scale(labelled([(300, 300)] * 10), 1344).side == 320
    assert image_scale(labelled([(20, 20)] * 10 + [(0, 0)] * 90), 1344).side == 1024  # degenerate boxes do not count
    assert image_scale(labelled([]), 1344).side == 320


def test_few_images_get_more_epochs_for_the_same_steps() -> None:
    for images in (40, 205, 600):
        plan = schedule_for(images, pretrained=True, small=False)
        steps = plan.epochs * -(-images // plan.batch)
        assert 2000 <= steps < 2000 + images and plan.warm_up <= steps / 10 and plan.epochs >= plan.val_interval >= 1
    assert schedule_for(118_000, pretrained=True, small=False).epochs == 12
    assert schedule_for(1, pretrained=False, small=True).epochs == 300
    assert schedule_for(16, True, False).learning_rate == pytest.approx(0.01 * 4 / 16)  # MMDetection's linear rule


def test_tiny_objects_get_a_finer_level(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects of 3x3 px in the network contain no location of stride 8 in most places."""
    tiny = {name: [("cat", 10 * n + 1, 3 * n + 1, 10 * n + 4, 3 * n + 4) for n in range(8)] for name in truths(8)}
    write_folder(tmp_path / "data", "labelme", Split("train", tiny))
    cfg = init(tmp_path, monkeypatch, *SMALL, "--image-size", "96")
    assert cfg.model.bbox_head.anchor_generator.strides == [4, 8, 16, 32, 64] and cfg.model.neck.start_level == 0
    init_default_scope("mmdet")
    kept = choose_levels(lambda fine: cfg, 8, lambda done, total: None)
    assert not kept.fine  # the finer config is chosen only if it is better


def test_bins_reach_the_sides_of_the_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "data", "yolo")
    cfg = init(tmp_path, monkeypatch, *SMALL)
    init_default_scope("mmdet")
    short = Config.fromfile(tmp_path / "my.py")
    short.model.bbox_head.reg_max = 2
    chosen = choose_levels(lambda fine: short, 8, lambda done, total: None)
    assert 2 < chosen.head_settings.pop("reg_max") <= 16 and chosen.head_settings == {}
    assert choose_levels(lambda fine: cfg, 8, lambda done, total: None).head_settings == {}


def test_a_head_with_bins_is_never_said_to_have_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without objects in training, or with objects that no location is assigned to."""
    write_folder(tmp_path / "data", "yolo")
    cfg = init(tmp_path, monkeypatch, *SMALL)
    init_default_scope("mmdet")
    path = tmp_path / "my_data" / "train.json"
    content = json.loads(path.read_text())
    for size, said in ((0.5, "training gets no objects"), (1.0, "100.0% of the objects are assigned to no location")):
        for one in content["annotations"]:
            one.update(bbox=[1 / 3, 1 / 3, size, size], area=size**2)
        path.write_text(json.dumps(content))
        reason = choose_levels(lambda fine: cfg, 8, lambda done, total: None).reason
        assert said in reason and "no bins" not in reason


def test_the_difference_of_configs_gives_the_new_one() -> None:
    old = dict(a=1, b=dict(c=2, d=dict(e=3)), f=[1, 2], g=dict(h=1, i=2))
    new = dict(a=1, b=dict(c=2, d=dict(e=4), k=None), f=[1], g=dict(h=1))
    changes = config_difference(old, new)
    assert changes == dict(b=dict(d=dict(e=4), k=None), f=[1], g=dict(_delete_=True, h=1))
    merged = Config(old)
    merged.merge_from_dict(changes)
    assert merged.to_dict() == new


def test_a_file_is_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "data", "yolo")
    init(tmp_path, monkeypatch, *SMALL)
    text = (tmp_path / "my.py").read_text()
    assert cli.main(["init", "data", "-o", "my.py", *SMALL, "--seed", "1"]) == 2
    (tmp_path / "my.py").rename(tmp_path / "kept.py")
    assert cli.main(["init", "data", "-o", "my.py", *SMALL, "--seed", "1"]) == 2  # my_data exists
    assert (tmp_path / "kept.py").read_text() == text and not (tmp_path / "my.py").exists()


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    write_folder(tmp_path / "data", "yolo")
    monkeypatch.setitem(sys.modules, "globox", None)
    assert cli.main(["init", str(tmp_path / "data"), "-o", str(tmp_path / "my.py")]) == 2
    assert "gfl-plugin init: globox is not installed; install it by: pip install " in capsys.readouterr().err
    assert importlib.util.find_spec("rich")  # the other packages are installed


def test_bccd_needs_no_help(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    """Two of its images have boxes of zero size, which training ignores."""
    data = Path(os.environ.get("GFL_DATA", "nowhere")) / "bccd"
    if not data.is_dir():
        pytest.skip("GFL_DATA names no folder with bccd/")
    (tmp_path / "data").symlink_to(data)
    cfg = init(tmp_path, monkeypatch, *SMALL)
    printed = capsys.readouterr().out
    assert cfg.classes == ("Platelets", "RBC", "WBC") and printed.count("boxes of zero") == 2
    init_default_scope("mmdet")
    loaders = (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader)
    assert [len(DATASETS.build(one.dataset)) for one in loaders] == [205, 87, 72]
    assert not (tmp_path / "my_data").exists()


@pytest.mark.parametrize("form", ["voc", "yolo"])
def test_the_printed_command_trains(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights change in one epoch of a few steps, and stay finite."""
    write_folder(tmp_path / "data", form)
    init(tmp_path, monkeypatch, *SMALL, "--image-size", "96")
    few = ["train_cfg.max_epochs=1", *(f"{name}_dataloader.num_workers=0" for name in ("train", "val"))]
    few += [f"{name}_dataloader.persistent_workers=False" for name in ("train", "val")]
    done = run_tool(ROOT / "gfl_plugin_cli.py", "train", "my.py", "--cfg-options", *few)
    assert done.returncode == 0, done.stderr
    weights = torch.load(tmp_path / "work_dirs" / "my" / "epoch_1.pth", weights_only=True)["state_dict"]
    assert all(one.isfinite().all() for one in weights.values())
    bias = weights["bbox_head.gfl_cls.bias"]
    assert (bias != torch.full_like(bias, bias_init_with_prob(0.01))).all()  # its value before the first step
