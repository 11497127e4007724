"""MMDetection's tools with the plugin's configs, by ``gfl-plugin run``; docs/mmdetection-tools.md describes them."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
from pathlib import Path

import cv2
import pytest
import torch
from mmengine.config import Config
from tool import run_tool

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "configs" / "demo" / "gfl_r18_demo.py"
IMAGES = 4  # of the demo data, for training and for validation
EVERY_SCORE = ("--cfg-options", "model.test_cfg.score_thr=0.0")


def run(tool: str, *arguments: object, data: Path) -> subprocess.CompletedProcess:
    """Run a tool of MMDetection on the demo's data, and check that it succeeds."""
    done = run_tool(ROOT / "gfl_plugin_cli.py", "run", tool, *arguments, GFL_DEMO_DATA=data, MPLBACKEND="agg")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def trained(demo_data: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work directory of a training with two epochs of two steps, and a validation that finds boxes."""
    folder = tmp_path_factory.mktemp("work")
    options = ("train_cfg.max_epochs=2", "train_dataloader.batch_size=2", "default_hooks.logger.interval=1")
    name = (
        f"visualizer.name={folder.name}"  # a process has one visualizer per name, and the first run decides its files
    )
    options += (f"load_from={checkpoint}", name)
    run("train.py", CONFIG, "--work-dir", folder, "--cfg-options", *options, data=demo_data)
    return folder


@pytest.fixture(scope="module")
def results(demo_data: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a pickle of detections, and what test.py printed."""
    folder = tmp_path_factory.mktemp("results")
    arguments = ("--work-dir", folder, "--out", folder / "results.pkl")
    done = run("test.py", CONFIG, checkpoint, *arguments, data=demo_data)
    (folder / "printed.txt").write_text(done.stdout + done.stderr)
    return folder


def figures(printed: str) -> list[float]:
    """The figures of CocoMetric, which test.py and eval_metric.py print in two forms."""
    return [float(value) for value in re.findall(r"coco/bbox_mAP\w*'?: ([-\d.]+)", printed)]


def test_test_py_detects(results: Path) -> None:
    found = pickle.loads((results / "results.pkl").read_bytes())
    assert len(found) == IMAGES and all(len(one["pred_instances"]["scores"]) for one in found)


def test_test_py_with_tta_merges_the_flipped_image(demo_data: Path, checkpoint: Path, tmp_path: Path) -> None:
    """A config without tta_model gets MMDetection's default: horizontal flips, and NMS of both sets of boxes."""
    arguments = (CONFIG, checkpoint, "--tta", "--work-dir", tmp_path, "--out", tmp_path / "tta.pkl", *EVERY_SCORE)
    run("test.py", *arguments, data=demo_data)
    plain = (CONFIG, checkpoint, "--work-dir", tmp_path, "--out", tmp_path / "plain.pkl", *EVERY_SCORE)
    run("test.py", *plain, data=demo_data)
    with_tta, without = (pickle.loads((tmp_path / name).read_bytes()) for name in ("tta.pkl", "plain.pkl"))
    both = []
    for merged, alone in zip(with_tta, without, strict=True):
        boxes, own = merged["pred_instances"]["bboxes"], alone["pred_instances"]["bboxes"]
        both.append((boxes[:, None] - own[None]).abs().amax(dim=2).amin(dim=1) < 0.01)
    assert 0 < torch.cat(both).float().mean() < 1  # some boxes are of the image, others of its mirror image


def test_show_dir_has_a_picture_per_image(demo_data: Path, checkpoint: Path, tmp_path: Path) -> None:
    """Ground truth and detections side by side."""
    run("test.py", CONFIG, checkpoint, "--work-dir", tmp_path, "--show-dir", "shown", *EVERY_SCORE, data=demo_data)
    pictures = sorted(tmp_path.glob("*/shown/*"))
    assert [path.name.split("_")[0] for path in pictures] == [f"0000{n}.png" for n in range(IMAGES)]
    assert cv2.imread(str(pictures[0])).shape == (64, 2 * 64, 3)


def test_eval_metric_repeats_the_figures_of_test_py(results: Path, demo_data: Path) -> None:
    done = run("analysis_tools/eval_metric.py", CONFIG, results / "results.pkl", data=demo_data)
    expected = figures((results / "printed.txt").read_text())
    assert len(expected) == 6 and max(expected) > 0 and figures(done.stdout) == expected


def test_confusion_matrix(results: Path, demo_data: Path, tmp_path: Path) -> None:
    run("analysis_tools/confusion_matrix.py", CONFIG, results / "results.pkl", tmp_path, data=demo_data)
    assert cv2.imread(str(tmp_path / "confusion_matrix.png")).std() > 0


def test_analyze_results(results: Path, demo_data: Path, tmp_path: Path) -> None:
    """The tool starts processes and writes pictures of the best and the worst images."""
    tool = "analysis_tools/analyze_results.py"
    run(tool, CONFIG, results / "results.pkl", tmp_path, "--topk", 2, data=demo_data)
    assert [len(list((tmp_path / kind).glob("*.png"))) for kind in ("good", "bad")] == [2, 2]


def test_browse_dataset(demo_data: Path, tmp_path: Path) -> None:
    run("analysis_tools/browse_dataset.py", CONFIG, "--not-show", "--output-dir", tmp_path, data=demo_data)
    assert len(list(tmp_path.glob("*.png"))) == IMAGES


def test_get_flops_counts_the_head_as_mmdetections(demo_data: Path, tmp_path: Path) -> None:
    """The same layers: as many parameters and operations as with MMDetection's head; with more bins, more."""
    theirs = tmp_path / "theirs.py"
    losses = "loss_cls=dict(type='QualityFocalLoss', use_sigmoid=True), loss_dfl=dict(type='DistributionFocalLoss')"
    theirs.write_text(
        f"_base_ = {str(CONFIG)!r}\nmodel = dict(bbox_head=dict(type='mmdet.GFLHead', {losses}), "
        "train_cfg=dict(assigner=dict(type='mmdet.ATSSAssigner')))\n"
    )
    wider = tmp_path / "wider.py"
    wider.write_text(f"_base_ = {str(CONFIG)!r}\nmodel = dict(bbox_head=dict(reg_max=24))\n")
    counts = []
    for config in (CONFIG, theirs, wider):
        done = run("analysis_tools/get_flops.py", config, "--num-images", 1, data=demo_data)
        counts.append(re.findall(r"(?:Flops|Params): (\S+)", done.stdout))
    assert len(counts[0]) == 2 and counts[0] == counts[1] != counts[2]


def test_analyze_logs_plots_losses_and_prints_times(trained: Path, demo_data: Path, tmp_path: Path) -> None:
    """The tool needs seaborn, which the extra "tools" installs."""
    pytest.importorskip("seaborn")
    (log,) = trained.glob("*/vis_data/scalars.json")
    tool, keys = "analysis_tools/analyze_logs.py", ("loss_cls", "loss_bbox", "loss_dfl")
    for picture, chosen in (("losses.png", keys), ("ap.png", ("bbox_mAP", "--eval-interval", 2))):
        run(tool, "plot_curve", log, "--keys", *chosen, "--out", tmp_path / picture, data=demo_data)
        assert cv2.imread(str(tmp_path / picture)).std() > 0
    done = run(tool, "cal_train_time", log, "--include-outliers", data=demo_data)
    slowest, fastest, mean = map(float, re.findall(r"average (?:iter )?time(?: is|:) (\S+) s/iter", done.stdout))
    times = [entry["time"] for entry in map(json.loads, log.read_text().splitlines()) if "loss" in entry]
    assert len(times) == 4 and mean == pytest.approx((slowest + fastest) / 2, abs=1e-3)
    assert min(times) <= fastest + 1e-3 and slowest <= max(times) + 1e-3


def test_print_config_writes_a_config_that_trains_the_same_model(demo_data: Path, tmp_path: Path) -> None:
    """The saved file, with the change of the command line, has no base and equals the config that is printed."""
    saved = tmp_path / "saved.py"
    arguments = ("--save-path", saved, "--cfg-options", "model.bbox_head.reg_max=8")
    done = run("misc/print_config.py", CONFIG, *arguments, data=demo_data)
    assert "_base_ =" not in saved.read_text()
    cfg = Config.fromfile(saved)
    assert cfg.pretty_text in done.stdout
    assert cfg.model.bbox_head == {**Config.fromfile(CONFIG).model.bbox_head, "reg_max": 8}
