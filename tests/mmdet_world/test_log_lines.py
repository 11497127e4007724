"""A run that goes well prints no warning of the plugin, or caused by it.

Each line of a training, a test and an inference is one of the listed lines. All of them but one are of MMEngine,
MMDetection and pycocotools.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs" / "demo"
IMPORT = re.compile(r"gfl_plugin: applied \d+ compatibility patches; gfl_plugin\.compat\.prepare\(\) lists them")
STAMP = re.compile(r"\d\d/\d\d \d\d:\d\d:\d\d - mmengine - ")
# Messages of MMEngine and MMDetection, and whether more lines belong to them: a config, a table.
LONG = ("INFO - $", "INFO - Config:$", "INFO - Hooks will be executed in the following order:$")
SHORT = (
    r"INFO - Using env variable `GFL_DEMO_DATA` with value of \S+ to replace item in config\.",
    r"INFO - Distributed training is not used, all SyncBatchNorm \(SyncBN\) layers in the model will be ",
    r'WARNING - "FileClient" will be deprecated in future\. Please use io functions in ',
    r'WARNING - "HardDiskBackend" is the alias of "LocalBackend" and the former will be deprecated in future\.',
    r"INFO - Load checkpoint from \S+$",
    r"INFO - Checkpoints will be saved to \S+$",
    r"INFO - Exp name: \w+$",
    r"INFO - Epoch\((train|val|test)\) ",
    r"INFO - Saving checkpoint at \d+ epochs$",
    r"INFO - Evaluating bbox\.\.\.$",
    r"INFO - bbox_mAP_copypaste: ",
    # The inferencer looks for a collate function in the registry of functions, which MMDetection does not have.
    r'WARNING - Failed to search registry with scope "mmdet" in the "function" registry tree',
)
# Lines of pycocotools, and of MMEngine's loader of checkpoints.
PLAIN = (
    r"loading annotations into memory\.\.\.|creating index\.\.\.|index created!|Loading and preparing results\.\.\.",
    r"(Done|DONE) \(t=\S+s\)\.?$",
    r"Running per image evaluation\.\.\.|Evaluate annotation type \*bbox\*|Accumulating evaluation results\.\.\.",
    r" Average (Precision|Recall) +\(A[PR]\) @\[ IoU=",
    r"Loads checkpoint by local backend from path: \S+$",
)
# What MMEngine prints about the visualizer of an inferencer, which has no folder until it writes a picture.
VISUALIZER = (
    r"\S+: UserWarning: Failed to add <class \S+LocalVisBackend'>, please provide ",
    r"  warnings\.warn\(f'Failed ",
)
INFER = """
import sys
import gfl_plugin
from mmdet.apis import DetInferencer
inferencer = DetInferencer(model=sys.argv[1], weights=sys.argv[2], device="cpu", show_progress=False)
inferencer(sys.argv[3], out_dir=sys.argv[4], no_save_pred=False)
"""


def unexpected(printed: str) -> list[str]:
    """The lines that are not listed."""
    found, inside = [], False
    for line in printed.splitlines():
        stamp = STAMP.match(line)
        if stamp:
            message = line[stamp.end() :]
            inside = any(re.match(pattern, message) for pattern in LONG)
            known = inside or any(re.match(pattern, message) for pattern in SHORT)
        else:
            known = inside or not line or any(re.match(pattern, line) for pattern in PLAIN)
        if not known:
            found.append(line)
    return found


def run(*arguments: object, data: Path) -> subprocess.CompletedProcess:
    """Run Python with its usual filters of warnings."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONWARNINGS"}
    environment |= {
        "GFL_DEMO_DATA": str(data),
        "PYTHONPATH": os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")]),
    }
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def assert_quiet(done: subprocess.CompletedProcess, allowed: tuple[str, ...] = ()) -> None:
    """Only the message of the import is on stderr, once, and only listed lines are on stdout."""
    lines = [line for line in done.stderr.splitlines() if not any(re.match(pattern, line) for pattern in allowed)]
    assert [line for line in lines if not IMPORT.fullmatch(line)] == []
    assert len(lines) == 1 and len(lines[0]) < 100
    assert unexpected(done.stdout) == []


@pytest.mark.parametrize("name", ["gfl_r18_demo", "gfl_r18_demo_trusted"])
def test_training(name: str, demo_data: Path, checkpoint: Path, tmp_path: Path) -> None:
    """The plain config, and one with the hooks for long runs. Both begin with weights that detect something."""
    options = ["train_cfg.max_epochs=2", "train_cfg.val_interval=2", f"load_from={checkpoint}"]
    config = CONFIGS / f"{name}.py"
    done = run(
        "-m", "gfl_plugin_cli", "train", config, "--work-dir", tmp_path, "--cfg-options", *options, data=demo_data
    )
    assert "Epoch(train) [2][1/1]" in done.stdout and "coco/bbox_mAP: " in done.stdout
    assert_quiet(done)


def test_testing(demo_data: Path, checkpoint: Path, tmp_path: Path) -> None:
    config = CONFIGS / "gfl_r18_demo.py"
    done = run("-m", "gfl_plugin_cli", "test", config, checkpoint, "--work-dir", tmp_path, data=demo_data)
    assert "coco/bbox_mAP: " in done.stdout
    assert_quiet(done)


def test_inference(demo_data: Path, checkpoint: Path, tmp_path: Path) -> None:
    done = run("-c", INFER, CONFIGS / "gfl_r18_demo.py", checkpoint, demo_data / "val", tmp_path, data=demo_data)
    assert len(list((tmp_path / "vis").iterdir())) == 4
    assert_quiet(done, VISUALIZER)


def test_another_line_is_found() -> None:
    """A warning, an unknown message, and a plain line after a short message are not listed."""
    stamp = "11/26 16:57:51 - mmengine - "
    lines = [f"{stamp}WARNING - the head has num_classes=80", f"{stamp}INFO - Config:", "x = 1", f"{stamp}INFO - hello"]
    lines += [f"{stamp}INFO - Saving checkpoint at 1 epochs", "UserWarning: old name"]
    assert unexpected("\n".join(lines)) == [lines[0], lines[3], lines[5]]
