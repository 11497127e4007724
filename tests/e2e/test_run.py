"""``gfl-plugin run``: MMDetection's tools and a user's own scripts, with the plugin imported first."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cases import lines_of_errors
from runs import confident_detector

from gfl_plugin.demo.dataset import DemoSize, make_dataset

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "configs" / "demo" / "gfl_r18_demo.py"
IMAGES = 4  # for training, and the same number for validation
BANNER = "gfl_plugin: "


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("demo") / "data", DemoSize(train=IMAGES, val=IMAGES, side=64))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights with detections in every image, because all scores are above the threshold."""
    model = confident_detector(CONFIG)
    path = tmp_path_factory.mktemp("weights") / "weights.pth"
    torch.save({"state_dict": model.state_dict(), "meta": {}}, path)
    return path


def started(*command: object, data: Path | None = None, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    """Run Python with a command line on the demo's data."""
    environment = {**os.environ, "GFL_DEMO_DATA": str(data), "OMP_NUM_THREADS": "2", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-W", "ignore", *map(str, command)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
        timeout=300,
    )


def runner(*arguments: object, data: Path | None = None, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    return started("-m", "gfl_plugin.cli", "run", *arguments, data=data, cwd=cwd)


def test_publish_model(checkpoint: Path, tmp_path: Path) -> None:
    output = runner("model_converters/publish_model.py", checkpoint, tmp_path / "out.pth", cwd=tmp_path)
    assert output.returncode == 0, output.stderr[-3000:]
    (published,) = tmp_path.glob("out-*.pth")
    assert set(torch.load(published)["state_dict"]) == set(torch.load(checkpoint)["state_dict"])


def test_det_inferencer_in_a_users_script(data: Path, checkpoint: Path, tmp_path: Path) -> None:
    """A script that imports only MMDetection, as in its documentation, works."""
    script = tmp_path / "infer.py"
    script.write_text(
        "import sys\n"
        "from mmdet.apis import DetInferencer\n"
        "inferencer = DetInferencer(model=sys.argv[1], weights=sys.argv[2], device='cpu', show_progress=False)\n"
        "(found,) = inferencer(sys.argv[3], no_save_vis=True, no_save_pred=True)['predictions']\n"
        "print(len(found['scores']))\n"
    )
    output = runner(script, CONFIG, checkpoint, data / "val" / "00000.png", data=data)
    assert output.returncode == 0, output.stderr[-3000:]
    assert int(output.stdout.splitlines()[-1]) > 0


def test_a_script_has_the_same_modules_and_arguments_as_without_the_runner(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("VALUE = 5\n")
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, beside\nif __name__ == '__main__':\n"
        "    print(sys.argv, __file__, beside.VALUE, sys.modules['__main__'].beside is beside)\n    sys.exit(7)\n"
    )
    plain, run = started(script, "a", "--b", cwd=tmp_path), runner(script, "a", "--b", cwd=tmp_path)
    assert plain.stdout == run.stdout != "" and plain.returncode == run.returncode == 7


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_processes_that_a_script_starts_find_its_functions(tmp_path: Path, method: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import multiprocessing\nimport mmcv.ops\n"  # needs the plugin, also in the started processes
        "def double(x):\n    return 2 * x\n"
        "if __name__ == '__main__':\n"
        f"    with multiprocessing.get_context('{method}').Pool(1) as pool:\n"
        "        print(pool.map(double, [1, 2]))\n"
    )
    output = runner(script)
    assert output.returncode == 0 and output.stdout == "[2, 4]\n", output.stderr[-2000:]
    assert output.stderr.count(BANNER) == 1


def test_a_damaged_checkpoint_is_a_one_line_error(data: Path, tmp_path: Path) -> None:
    (tmp_path / "damaged.pth").write_bytes(b"PK\x03\x04 and no more")
    for name, command in (
        ("run", ("-m", "gfl_plugin.cli", "run", "test.py")),
        ("test", ("-m", "gfl_plugin_cli", "test")),
        ("test", (ROOT / "tools" / "test.py",)),
    ):
        output = started(*command, CONFIG, tmp_path / "damaged.pth", "--work-dir", tmp_path, data=data)
        (line,) = lines_of_errors(output.stderr)
        assert output.returncode == 2 and line.startswith(f"gfl-plugin {name}: ") and "damaged.pth" in line


@pytest.mark.parametrize("kind", ["CheckpointError", "NonFiniteError"])
def test_errors_of_the_plugin_are_one_line(tmp_path: Path, kind: str) -> None:
    script = tmp_path / "script.py"
    module = "errors" if kind == "CheckpointError" else "step_record"
    script.write_text(f"from gfl_plugin.runtime.{module} import {kind}\nraise {kind}('what is wrong')\n")
    output = runner(script)
    assert output.returncode == 2 and lines_of_errors(output.stderr) == ["gfl-plugin run: what is wrong"]


def test_any_other_error_keeps_its_traceback(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("raise RuntimeError('a mistake')\n")
    output = runner(script)
    assert output.returncode == 1 and f'File "{script}", line 1' in output.stderr
    assert lines_of_errors(output.stderr)[-1] == "RuntimeError: a mistake"


def test_an_unknown_script_is_a_one_line_error_that_lists_the_tools() -> None:
    output = runner("analysis_tools/confuse.py")
    (line,) = lines_of_errors(output.stderr)
    assert output.returncode == 2
    assert line.startswith("gfl-plugin run: analysis_tools/confuse.py is neither a file nor one of MMDetection's tools")
    assert ", analysis_tools/confusion_matrix.py, " in line and ", test.py" in line


def test_a_folder_with_a_script_of_that_name_does_not_change_what_tools_run(tmp_path: Path) -> None:
    """tools/train.py runs MMDetection's script even if the working directory has a train.py."""
    (tmp_path / "train.py").write_text("raise SystemExit(9)\n")
    output = started(ROOT / "tools" / "train.py", "--help", cwd=tmp_path)
    assert output.returncode == 0 and "--auto-scale-lr" in output.stdout
    assert runner("train.py", cwd=tmp_path).returncode == 9
