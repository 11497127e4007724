"""Whole runs through MMDetection's scripts, as a person starts them: train, resume, test, and what goes wrong."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import mmdet
import pytest
import torch
from PIL import Image

from gfl_plugin.demo.dataset import DemoSize, make_dataset

ROOT = Path(__file__).resolve().parents[2]
MMDET_TRAIN = Path(mmdet.__file__).parent / ".mim" / "tools" / "train.py"
CONFIG = ROOT / "configs" / "demo" / "gfl_r18_demo.py"


@pytest.fixture(scope="module")
def demo_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("demo") / "data", DemoSize(train=16, val=4, side=96))


def script(path: Path, *arguments: object, data: Path, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
    """Run a script on the demo's data, one epoch unless said otherwise."""
    command = [sys.executable, "-W", "ignore", path, *arguments]
    if options:
        command += ["--cfg-options", *options]
    environment = {**os.environ, "GFL_DEMO_DATA": str(data), "OMP_NUM_THREADS": "2"}
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, cwd=ROOT, env=environment, timeout=300
    )


def epochs(count: int) -> tuple[str, ...]:
    return (f"train_cfg.max_epochs={count}", f"train_cfg.val_interval={count}")


@pytest.fixture(scope="module")
def trained(demo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work directory after one epoch through tools/train.py, with the assignment hook."""
    work_dir = tmp_path_factory.mktemp("work")
    config = tmp_path_factory.mktemp("config") / "gfl_r18_demo.py"
    hook = "dict(type='gfl_plugin.AssignmentStatsHook', interval=1)"
    config.write_text(f"_base_ = {str(CONFIG)!r}\ncustom_hooks = [{hook}]\n")
    options = (*epochs(1), "default_hooks.logger.interval=1")
    output = script(ROOT / "tools" / "train.py", config, "--work-dir", work_dir, data=demo_data, options=options)
    assert output.returncode == 0, output.stderr[-3000:]
    return work_dir


def test_train_logs_losses_and_assignments(trained: Path) -> None:
    assert (trained / "epoch_1.pth").is_file()
    (log,) = trained.glob("*/*.log")
    text = log.read_text()
    for name in ("loss_cls", "loss_bbox", "loss_dfl", "assign/positives_per_object", "assign/positives_level_0"):
        assert f"{name}:" in text, name
    (scalars,) = trained.glob("*/vis_data/scalars.json")
    assert "assign/objects_without_positive" in scalars.read_text()


def test_resume_goes_on_where_it_stopped(trained: Path, demo_data: Path) -> None:
    output = script(
        ROOT / "tools" / "train.py", CONFIG, "--work-dir", trained, "--resume", data=demo_data, options=epochs(2)
    )
    assert output.returncode == 0, output.stderr[-3000:]
    assert "resumed epoch: 1" in output.stdout + output.stderr
    assert (trained / "epoch_2.pth").is_file()
    assert "Epoch(train)  [1]" not in output.stdout


def test_test_script_measures(trained: Path, demo_data: Path, tmp_path: Path) -> None:
    checkpoint = trained / "epoch_1.pth"
    output = script(ROOT / "tools" / "test.py", CONFIG, checkpoint, "--work-dir", tmp_path, data=demo_data)
    assert output.returncode == 0, output.stderr[-3000:]
    assert re.search(r"bbox_mAP|results of the whole dataset is empty", output.stdout + output.stderr)


def test_mmdetections_own_train_script(demo_data: Path, tmp_path: Path) -> None:
    """Given one of these configs it needs nothing else: custom_imports does the rest."""
    output = script(MMDET_TRAIN, CONFIG, "--work-dir", tmp_path, data=demo_data, options=epochs(1))
    assert output.returncode == 0, output.stderr[-3000:]
    assert (tmp_path / "epoch_1.pth").is_file()


def test_stock_head_and_drop_in_train(demo_data: Path, tmp_path: Path) -> None:
    """A config that names MMDetection's GFLHead trains with ours through drop_in."""
    config = tmp_path / "stock.py"
    config.write_text(
        f"_base_ = {str(CONFIG)!r}\n"
        "custom_imports = dict(imports=['gfl_plugin.drop_in'], allow_failed_imports=False)\n"
        "model = dict(\n"
        "    bbox_head=dict(\n"
        "        type='GFLHead',\n"
        "        loss_cls=dict(type='QualityFocalLoss', use_sigmoid=True),\n"
        "        loss_dfl=dict(type='DistributionFocalLoss', loss_weight=0.25),\n"
        "    ),\n"
        "    train_cfg=dict(assigner=dict(type='ATSSAssigner')),\n"
        ")\n"
    )
    output = script(MMDET_TRAIN, config, "--work-dir", tmp_path / "work", data=demo_data, options=epochs(1))
    assert output.returncode == 0, output.stderr[-3000:]
    (log,) = (tmp_path / "work").glob("*/*.log")
    assert "loss_dfl:" in log.read_text()


def test_missing_annotation_file(demo_data: Path, tmp_path: Path) -> None:
    options = ("train_dataloader.dataset.ann_file=nowhere.json",)
    output = script(ROOT / "tools" / "train.py", CONFIG, "--work-dir", tmp_path, data=demo_data, options=options)
    assert output.returncode != 0
    last = output.stderr.strip().splitlines()[-1]
    assert "FileNotFoundError" in last and "nowhere.json" in last


def test_mmdetections_own_train_script_warns_of_data_that_does_not_fit(demo_data: Path, tmp_path: Path) -> None:
    """The config names no hook: 80 classes are left in the head, and no class is the annotations'."""
    config = tmp_path / "misfit.py"
    config.write_text(
        f"_base_ = {str(CONFIG)!r}\n"
        "model = dict(bbox_head=dict(num_classes=80))\n"
        "train_dataloader = dict(dataset=dict(metainfo=dict(classes=('zero', 'one'))))\n"
    )
    output = script(MMDET_TRAIN, config, "--work-dir", tmp_path / "work", data=demo_data, options=epochs(1))
    assert output.returncode == 0, output.stderr[-3000:]
    (log,) = (tmp_path / "work").glob("*/*.log")
    warnings = [line.split(" - ")[-1] for line in log.read_text().splitlines() if " - WARNING - " in line]
    assert (
        "the head has num_classes=80, but the training set has 2 classes (zero, one). Set bbox_head.num_classes=2, or "
        "correct metainfo.classes"
    ) in warnings
    assert (
        "none of the first 16 training images has an object. The training set has 2 classes (zero, one): the "
        "annotations must use exactly these names. gfl-plugin check-data CONFIG lists the names in the annotations"
    ) in warnings


def test_an_empty_training_set_is_one_line(demo_data: Path, tmp_path: Path) -> None:
    config = tmp_path / "empty.py"
    dataset = "dict(metainfo=dict(classes=('zero', 'one')), filter_cfg=dict(filter_empty_gt=True))"
    config.write_text(f"_base_ = {str(CONFIG)!r}\ntrain_dataloader = dict(dataset={dataset})\n")
    output = script(ROOT / "tools" / "train.py", config, "--work-dir", tmp_path / "work", data=demo_data)
    assert output.returncode == 2, output.stderr[-3000:]
    assert output.stderr.strip().splitlines()[-1] == (
        f"gfl-plugin train: CocoDataset of {demo_data}/train.json: no images are left after "
        "filter_cfg={'filter_empty_gt': True}. Its classes are zero, one; the annotations must use these names "
        "(metainfo.classes). gfl-plugin check-data CONFIG lists the names in the annotations"
    )
    assert "Traceback" not in output.stderr


@pytest.fixture
def blood_cells(tmp_path: Path) -> Path:
    """A folder with BCCD/, as a clone of the data set has it, of three small images."""
    root = tmp_path / "clone" / "BCCD"
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    box = "<bndbox><xmin>20</xmin><ymin>30</ymin><xmax>80</xmax><ymax>90</ymax></bndbox>"
    cell = f"<object><name>RBC</name>{box}</object>"
    size = "<size><width>160</width><height>120</height><depth>3</depth></size>"
    for name in ("a", "b", "c"):
        (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{size}{cell}</annotation>")
        Image.new("RGB", (160, 120), (200, 120, 120)).save(root / "JPEGImages" / f"{name}.jpg")
    for split in ("train", "val", "test"):
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("a\nb\nc\n")
    return root.parent


def test_flags_of_the_scripts_on_bccd(blood_cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--auto-scale-lr and --tta need settings that the config must have; GFL_DATA is a clone of the data set."""
    monkeypatch.setenv("GFL_DATA", str(blood_cells))
    config = ROOT / "configs" / "bccd" / "gfl_r18_bccd.py"
    arguments = (config, "--auto-scale-lr", "--work-dir", tmp_path)
    options = ("train_cfg.max_epochs=1", "train_cfg.val_interval=9", "train_dataloader.batch_size=2")
    output = script(ROOT / "tools" / "train.py", *arguments, data=tmp_path, options=options)
    assert output.returncode == 0, output.stderr[-3000:]
    scaled = "LR is set based on batch size of 4 and the current batch size is 2. Scaling the original LR by 0.5"
    assert scaled in output.stdout + output.stderr
    checkpoint = tmp_path / "epoch_1.pth"
    # Every detection counts, as an untrained model has none with a score.
    options = ("model.test_cfg.score_thr=0.0",)
    arguments = (config, checkpoint, "--tta", "--work-dir", tmp_path)
    output = script(ROOT / "tools" / "test.py", *arguments, data=tmp_path, options=options)
    assert output.returncode == 0, output.stderr[-3000:]
    assert "bbox_mAP" in output.stdout + output.stderr


def test_checkpoint_of_another_architecture(demo_data: Path, tmp_path: Path) -> None:
    state = {f"bbox_head.atss_{part}.weight": torch.zeros(2, 2, 3, 3) for part in ("cls", "reg", "centerness")}
    torch.save({"state_dict": state, "meta": {}}, tmp_path / "atss.pth")
    output = script(ROOT / "tools" / "test.py", CONFIG, tmp_path / "atss.pth", "--work-dir", tmp_path, data=demo_data)
    assert output.returncode != 0
    assert "the checkpoint holds another head (atss_centerness, atss_cls, atss_reg)" in output.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--boxes", "nowhere.json"), "--boxes: file not found: nowhere.json"),
        (("--boxes", __file__, "--runs", "3"), "--runs is 3; a median of fewer than 7 pairs says little"),
        (("--boxes", __file__, "--only", "speed"), "--only speed names no row; the rows are: assignment, loss"),
    ],
)
def test_benchmark_mistakes(demo_data: Path, arguments: tuple[str, ...], message: str) -> None:
    output = script(ROOT / "tools" / "benchmark.py", *arguments, data=demo_data)
    assert output.returncode == 2 and message in output.stderr


def test_benchmark_writes_what_it_prints(gfl_data: Path, tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    output = script(
        ROOT / "tools" / "benchmark.py", "--only", "kept", "--batch", "2", "--runs", "7", "--json", file, data=tmp_path
    )
    assert output.returncode == 0, output.stderr
    (row,) = json.loads(file.read_text())["rows"]
    assert row["name"] == "kept for backward" and row["ratio"] > 3
    assert f"{row['ratio']:.2f}x" in output.stdout
