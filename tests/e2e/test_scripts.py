"""Runs of MMDetection's scripts as users start them: train, resume, test, and mistakes.

Each script runs once in a separate process; other runs are in the process of the test (tests/tool.py).
"""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import mmdet
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from tool import run_tool

from gfl_plugin.demo.dataset import DemoSize, make_dataset

ROOT = Path(__file__).resolve().parents[2]
TRAIN, TEST = ROOT / "tools" / "train.py", ROOT / "tools" / "test.py"
MMDET_TRAIN = Path(mmdet.__file__).parent / ".mim" / "tools" / "train.py"
CONFIG = ROOT / "configs" / "demo" / "gfl_r18_demo.py"
FIRST_EPOCH = re.compile(r"Epoch\(train\) +\[ *1\]")  # in a log
EPOCHS = 25  # enough to find most objects of the 16 training images


@pytest.fixture(scope="module")
def demo_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("demo") / "data", DemoSize(train=16, val=4, side=96))


def command_line(arguments: tuple[object, ...], options: tuple[str, ...]) -> list[str]:
    return [*map(str, arguments), *(["--cfg-options", *options] if options else [])]


def process(path: Path, *arguments: object, data: Path, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
    """Run a script on the demo's data in a separate process."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", str(path), *command_line(arguments, options)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "GFL_DEMO_DATA": str(data)},
        timeout=300,
    )


def script(path: Path, *arguments: object, data: Path, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
    """Run a script on the demo's data in this process."""
    return run_tool(path, *command_line(arguments, options), GFL_DEMO_DATA=data)


def epochs(count: int) -> tuple[str, ...]:
    return (f"train_cfg.max_epochs={count}", f"train_cfg.val_interval={count}", "default_hooks.logger.interval=1")


def losses(output: subprocess.CompletedProcess) -> list[float]:
    """The total loss of each step."""
    return [float(loss) for loss in re.findall(r" loss: (\S+)", output.stdout)]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's config with the assignment hook, a short warm-up and no decay."""
    path = tmp_path_factory.mktemp("config") / "gfl_r18_demo.py"
    path.write_text(
        f"_base_ = {str(CONFIG)!r}\n"
        "custom_hooks = [dict(type='gfl_plugin.AssignmentStatsHook', interval=1)]\n"
        "param_scheduler = [dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=10)]\n"
        "randomness = dict(seed=0)\n"
    )
    return path


@pytest.fixture(scope="module")
def trained(
    config: Path, demo_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, subprocess.CompletedProcess]:
    """A work directory after one epoch through tools/train.py, and what the script printed."""
    work_dir = tmp_path_factory.mktemp("work")
    output = process(TRAIN, config, "--work-dir", work_dir, data=demo_data, options=epochs(1))
    assert output.returncode == 0, output.stderr[-3000:]
    assert (work_dir / "epoch_1.pth").is_file()
    return work_dir, output


@pytest.fixture(scope="module")
def resumed(
    trained: tuple[Path, subprocess.CompletedProcess], config: Path, demo_data: Path
) -> subprocess.CompletedProcess:
    """The same training, resumed to its end."""
    arguments = (config, "--work-dir", trained[0], "--resume")
    return script(TRAIN, *arguments, data=demo_data, options=epochs(EPOCHS))


def test_train_logs_losses_and_assignments(trained: tuple[Path, subprocess.CompletedProcess]) -> None:
    work_dir, output = trained
    (log,) = (path for path in work_dir.glob("*/*.log") if FIRST_EPOCH.search(path.read_text()))
    text = log.read_text()
    for name in ("loss_cls", "loss_bbox", "loss_dfl", "assign/positives_per_object", "assign/positives_level_0"):
        assert f"{name}:" in text, name
    scalars = (log.parent / "vis_data" / "scalars.json").read_text()
    assert "assign/objects_without_positive" in scalars
    assert len(losses(output)) == 4


def test_resume_continues_where_the_training_stopped(
    trained: tuple[Path, subprocess.CompletedProcess], resumed: subprocess.CompletedProcess
) -> None:
    """The next epoch is the second one, and the loss decreases."""
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    assert "resumed epoch: 1" in resumed.stdout + resumed.stderr
    assert (trained[0] / f"epoch_{EPOCHS}.pth").is_file()
    assert not FIRST_EPOCH.search(resumed.stdout)
    found = losses(resumed)
    assert len(found) == 4 * (EPOCHS - 1)
    assert sum(found[-4:]) < 0.75 * sum(found[:4])


def average_precision(annotations: Path, found: list[dict]) -> tuple[float, float]:
    """AP and AP50 of dumped predictions, computed by pycocotools without MMDetection."""
    truths = COCO(str(annotations))
    categories = sorted(truths.getCatIds())
    detections = [
        dict(image_id=one["img_id"], category_id=categories[int(label)], bbox=[x1, y1, x2 - x1, y2 - y1], score=score)
        for one in found
        for (x1, y1, x2, y2), score, label in zip(
            *(one["pred_instances"][key].tolist() for key in ("bboxes", "scores", "labels"))
        )
    ]
    evaluation = COCOeval(truths, truths.loadRes(detections), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return float(evaluation.stats[0]), float(evaluation.stats[1])


def test_test_script_measures(
    trained: tuple[Path, subprocess.CompletedProcess],
    resumed: subprocess.CompletedProcess,
    config: Path,
    demo_data: Path,
    tmp_path: Path,
) -> None:
    """The printed AP equals that of the dumped predictions, and AP50 on the training images is above 0.15."""
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    annotations = demo_data / "train.json"
    options = (
        "model.test_cfg.score_thr=0.0",
        "test_dataloader.dataset.ann_file=train.json",
        "test_dataloader.dataset.data_prefix.img=train/",
        f"test_evaluator.ann_file={annotations}",
    )
    arguments = (config, trained[0] / f"epoch_{EPOCHS}.pth", "--work-dir", tmp_path, "--out", tmp_path / "found.pkl")
    output = process(TEST, *arguments, data=demo_data, options=options)
    assert output.returncode == 0, output.stderr[-3000:]
    ap, ap50 = average_precision(annotations, pickle.loads((tmp_path / "found.pkl").read_bytes()))
    assert ap50 > 0.15  # 0.36 when this was written; 0.00 after the first epoch
    printed = re.search(r"bbox_mAP: (\S+)  coco/bbox_mAP_50: (\S+)", output.stdout + output.stderr)
    assert [float(value) for value in printed.groups()] == pytest.approx([ap, ap50], abs=6e-4)  # three digits


def test_mmdetections_own_train_script_warns_of_data_that_does_not_fit(demo_data: Path, tmp_path: Path) -> None:
    """With MMDetection's own script, custom_imports of the config activates the plugin and its warnings.

    The config names no hook. The head has 80 classes, and the annotations contain none of the config's classes.
    """
    config = tmp_path / "misfit.py"
    config.write_text(
        f"_base_ = {str(CONFIG)!r}\n"
        "model = dict(bbox_head=dict(num_classes=80))\n"
        "train_dataloader = dict(dataset=dict(metainfo=dict(classes=('zero', 'one'))))\n"
    )
    output = process(MMDET_TRAIN, config, "--work-dir", tmp_path / "work", data=demo_data, options=epochs(1))
    assert output.returncode == 0, output.stderr[-3000:]
    assert (tmp_path / "work" / "epoch_1.pth").is_file()
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


def test_stock_head_and_drop_in_train(demo_data: Path, tmp_path: Path) -> None:
    """With drop_in, a config that names MMDetection's GFLHead trains our head."""
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
        # Only the plugin's assigner reports to this hook.
        "custom_hooks = [dict(type='gfl_plugin.AssignmentStatsHook', interval=1)]\n"
    )
    output = process(MMDET_TRAIN, config, "--work-dir", tmp_path / "work", data=demo_data, options=epochs(1))
    assert output.returncode == 0, output.stderr[-3000:]
    (log,) = (tmp_path / "work").glob("*/*.log")
    assert "loss_dfl:" in log.read_text()
    assert "assign/positives_per_object:" in log.read_text()


@pytest.mark.once
def test_missing_annotation_file(demo_data: Path, tmp_path: Path) -> None:
    options = ("train_dataloader.dataset.ann_file=nowhere.json",)
    output = script(TRAIN, CONFIG, "--work-dir", tmp_path, data=demo_data, options=options)
    assert output.returncode != 0
    last = output.stderr.strip().splitlines()[-1]
    assert "FileNotFoundError" in last and "nowhere.json" in last


@pytest.mark.once
def test_an_empty_training_set_is_a_one_line_error(demo_data: Path, tmp_path: Path) -> None:
    config = tmp_path / "empty.py"
    dataset = "dict(metainfo=dict(classes=('zero', 'one')), filter_cfg=dict(filter_empty_gt=True))"
    config.write_text(f"_base_ = {str(CONFIG)!r}\ntrain_dataloader = dict(dataset={dataset})\n")
    output = script(TRAIN, config, "--work-dir", tmp_path / "work", data=demo_data)
    assert output.returncode == 2, output.stderr[-3000:]
    assert output.stderr.strip().splitlines()[-1] == (
        f"gfl-plugin train: CocoDataset of {demo_data}/train.json: no images are left after "
        "filter_cfg={'filter_empty_gt': True}. Its classes are zero, one; the annotations must use these names "
        "(metainfo.classes). gfl-plugin check-data CONFIG lists the names in the annotations"
    )
    assert "Traceback" not in output.stderr


@pytest.fixture
def blood_cells(tmp_path: Path) -> Path:
    """A folder with BCCD/, laid out as a clone of the data set, with three small images."""
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
    """--auto-scale-lr and --tta work, because the config has the settings that they need."""
    monkeypatch.setenv("GFL_DATA", str(blood_cells))
    config = ROOT / "configs" / "bccd" / "gfl_r18_bccd.py"
    arguments = (config, "--auto-scale-lr", "--work-dir", tmp_path)
    options = ("train_cfg.max_epochs=1", "train_cfg.val_interval=9", "train_dataloader.batch_size=2")
    output = script(TRAIN, *arguments, data=tmp_path, options=options)
    assert output.returncode == 0, output.stderr[-3000:]
    scaled = "LR is set based on batch size of 4 and the current batch size is 2. Scaling the original LR by 0.5"
    assert scaled in output.stdout + output.stderr
    checkpoint = tmp_path / "epoch_1.pth"
    # The threshold is 0, because an untrained model has low scores only.
    options = ("model.test_cfg.score_thr=0.0",)
    arguments = (config, checkpoint, "--tta", "--work-dir", tmp_path)
    output = script(TEST, *arguments, data=tmp_path, options=options)
    assert output.returncode == 0, output.stderr[-3000:]
    assert "bbox_mAP" in output.stdout + output.stderr


@pytest.mark.once
def test_checkpoint_of_another_architecture(demo_data: Path, tmp_path: Path) -> None:
    state = {f"bbox_head.atss_{part}.weight": torch.zeros(2, 2, 3, 3) for part in ("cls", "reg", "centerness")}
    torch.save({"state_dict": state, "meta": {}}, tmp_path / "atss.pth")
    output = script(TEST, CONFIG, tmp_path / "atss.pth", "--work-dir", tmp_path, data=demo_data)
    assert output.returncode != 0
    assert "the checkpoint holds another head (atss_centerness, atss_cls, atss_reg)" in output.stderr


@pytest.mark.once
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--boxes", "nowhere.json"), "--boxes: file not found: nowhere.json"),
        (("--boxes", __file__, "--runs", "3"), "--runs is 3; it must be at least 7, since a median of fewer pairs is"),
        (("--boxes", __file__, "--only", "speed"), "--only speed matches no row; the rows are: assignment, loss"),
    ],
)
def test_benchmark_mistakes(demo_data: Path, arguments: tuple[str, ...], message: str) -> None:
    output = script(ROOT / "tools" / "benchmark.py", *arguments, data=demo_data)
    assert output.returncode == 2 and message in output.stderr


@pytest.mark.once
def test_benchmark_writes_what_it_prints(gfl_data: Path, tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    output = script(
        ROOT / "tools" / "benchmark.py", "--only", "kept", "--batch", "2", "--runs", "7", "--json", file, data=tmp_path
    )
    assert output.returncode == 0, output.stderr
    (row,) = json.loads(file.read_text())["rows"]
    assert row["name"] == "kept for backward" and row["ratio"] > 3
    assert f"{row['ratio']:.2f}x" in output.stdout
