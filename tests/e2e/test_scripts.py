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


def test_checkpoint_of_another_architecture(demo_data: Path, tmp_path: Path) -> None:
    state = {f"bbox_head.atss_{part}.weight": torch.zeros(2, 2, 3, 3) for part in ("cls", "reg", "centerness")}
    torch.save({"state_dict": state, "meta": {}}, tmp_path / "atss.pth")
    output = script(ROOT / "tools" / "test.py", CONFIG, tmp_path / "atss.pth", "--work-dir", tmp_path, data=demo_data)
    assert output.returncode != 0
    assert "the checkpoint holds another head (atss_centerness, atss_cls, atss_reg)" in output.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--boxes", "nowhere.json"), "--boxes nowhere.json is no file"),
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
