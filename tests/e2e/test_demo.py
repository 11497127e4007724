"""A small demo, from the command line to its table and picture."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from gfl_plugin import cli

ROOT = Path(__file__).resolve().parents[2]
VARIANTS = {"atss": "ATSS (baseline)", "gfl": "GFL"}
SIZE = ("--images", "16", "--epochs", "3", "--jobs", "2")


@pytest.fixture(scope="module")
def work_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a demo; its output is in ``printed.txt`` in the parent folder."""
    folder = tmp_path_factory.mktemp("reader") / "demo"
    command = [sys.executable, "-W", "ignore", ROOT / "tools" / "demo.py", *SIZE, "--work-dir", folder]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    output = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, cwd=folder.parent, env=environment, timeout=300
    )
    assert output.returncode == 0, output.stderr[-3000:]
    (folder.parent / "printed.txt").write_text(output.stdout)
    return folder


def rows(work_dir: Path) -> list[dict]:
    return json.loads((work_dir / "demo.json").read_text())["rows"]


def test_each_variant_trains_and_its_loss_decreases(work_dir: Path) -> None:
    """The loss of the last epoch is below that of the first one, and the weights of the last epoch are kept."""
    for name in VARIANTS:
        folder = work_dir / name / "seed_0"
        (scalars,) = folder.glob("*/vis_data/scalars.json")
        entries = [json.loads(line) for line in scalars.read_text().splitlines()]
        losses = [entry["loss"] for entry in entries if "loss" in entry]
        assert len(losses) == 3 and losses[-1] < losses[0], name
        assert [path.name for path in folder.glob("*.pth")] == ["epoch_3.pth"]


def test_the_table_has_the_figures_of_the_written_detections(work_dir: Path) -> None:
    """An evaluation of the detection files by ``COCOeval.summarize`` gives the figures of table and JSON."""
    printed = (work_dir.parent / "printed.txt").read_text()
    table = (work_dir / "demo.md").read_text()
    for row, (name, title) in zip(rows(work_dir), VARIANTS.items(), strict=True):
        assert (row["variant"], row["title"]) == (name, title)
        expected = evaluated(work_dir / "data" / "val.json", work_dir / name / "seed_0" / "val.bbox.json")
        assert [value for metric in ("AP", "AP50", "AP75") for value in row[metric]] == pytest.approx(expected)
        cells = f"| {title} | " + " | ".join(f"{value:.1f}" for value in expected)
        assert cells in table and title in printed
    baseline, gfl = rows(work_dir)
    assert baseline["difference"] is None
    assert gfl["difference"]["mean"] == pytest.approx(gfl["AP"][0] - baseline["AP"][0])
    for file in ("demo.md", "demo.json", "demo.png", "detections.png"):
        assert f"wrote {work_dir / file}" in printed


def evaluated(truth: Path, detections: Path) -> list[float]:
    """AP, AP50 and AP75 in percent, as pycocotools summarizes them."""
    found = json.loads(detections.read_text()) if detections.exists() else []
    if not found:
        return [0.0, 0.0, 0.0]
    annotations = COCO(str(truth))
    evaluation = COCOeval(annotations, annotations.loadRes(found), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return list(100 * evaluation.stats[:3])


def test_the_picture_has_a_column_per_model_and_a_row_per_image(work_dir: Path) -> None:
    """Images are enlarged threefold below headings; tests/analysis/test_detection_picture.py checks boxes."""
    sheet = np.asarray(Image.open(work_dir / "detections.png").convert("RGB")).astype(int)
    assert sheet.shape == (36 + 4 * 480, 3 * 480, 3)
    content = json.loads((work_dir / "data" / "val.json").read_text())
    for number, entry in enumerate(content["images"][:4]):
        image = Image.open(work_dir / "data" / "val" / entry["file_name"]).convert("RGB")
        enlarged = np.asarray(image.resize((480, 480), Image.Resampling.BICUBIC)).astype(int)
        for column in range(3):
            part = sheet[36 + 480 * number :][:480, 480 * column :][:, :480]
            assert (part == enlarged).all(axis=2).mean() > 0.5, (number, column)


def test_progress_of_both_trainings_is_printed_to_a_pipe(work_dir: Path) -> None:
    printed = (work_dir.parent / "printed.txt").read_text().splitlines()
    for name in VARIANTS:
        assert f"started {name}, seed 0" in printed
        assert any(line.startswith(f"finished {name}, seed 0: AP ") for line in printed)


def test_a_finished_demo_is_not_trained_again(work_dir: Path, capsys: pytest.CaptureFixture) -> None:
    before = {path: path.stat().st_mtime_ns for path in work_dir.rglob("*.pth")}
    assert cli.main(["demo", *SIZE, "--work-dir", str(work_dir)]) == 0
    assert "study demo: 2 runs, 2 finished before" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in work_dir.rglob("*.pth")} == before


def test_a_folder_of_another_size_is_kept(work_dir: Path, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["demo", "--images", "17", "--work-dir", str(work_dir)]) == 2
    message = capsys.readouterr().err
    assert message.startswith("gfl-plugin demo: ") and "contains a demo dataset with the settings" in message
    assert cli.main(["demo", "--epochs", "0"]) == 2
    assert "--epochs is 0; it must be at least 1" in capsys.readouterr().err
