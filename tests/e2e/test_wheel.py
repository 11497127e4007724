"""The wheel, installed into an environment with MMDetection and used from an empty folder, as documented."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from gfl_plugin.cli import SCREEN
from gfl_plugin.demo.dataset import DemoSize, make_dataset

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[2]
# The sources of a wheel.
SOURCES = ("gfl_plugin", "configs", "gfl_plugin_cli.py", "model-index.yml")
SOURCES += ("setup.py", "MANIFEST.in", "README.md", "LICENSE")
ONE_EPOCH = ("--cfg-options", "train_cfg.max_epochs=1", "default_hooks.logger.interval=1")
COCO_CONFIG = """
_base_ = "gfl_plugin::gfl/gfl_r50_fpn_1x_coco.py"
model = dict(bbox_head=dict(num_classes=3))
"""
WHERE = """
import json, gfl_plugin
from pathlib import Path
from gfl_plugin.runtime.config_files import config_folder
configs = sorted(path.relative_to(config_folder()).as_posix() for path in config_folder().rglob("*.py"))
print(json.dumps([gfl_plugin.__file__, str(config_folder()), configs]))
"""


@dataclass(frozen=True)
class Shell:
    """A working directory and a virtual environment with the commands."""

    folder: Path
    environment: Path

    def type(self, program: str, *words: object) -> subprocess.CompletedProcess:
        """Run a program of the environment, on the demo's data."""
        settings = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        settings |= {"GFL_DEMO_DATA": str(self.folder.parent / "data"), "OMP_NUM_THREADS": "2"}
        command = [str(self.environment / "bin" / program), *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, cwd=self.folder, env=settings, timeout=300)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the checkout to keep the checkout free of build folders."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*command, "-w", folder, source], check=True, timeout=120)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def shell(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """An empty folder, and an environment with the wheel and the packages of this one except gfl_plugin."""
    folder = tmp_path_factory.mktemp("user")
    environment = folder / "environment"
    venv.create(environment, symlinks=True)
    python = environment / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", "--no-index"]
    subprocess.run([*command, wheel], check=True, timeout=120)
    # A path in a .pth file does not execute the .pth files in that folder, such as that of an editable install.
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "packages_of_the_tests.pth").write_text(sysconfig.get_path("purelib") + "\n")
    make_dataset(folder / "data", DemoSize(train=8, val=4, side=64))
    (folder / "empty").mkdir()
    return Shell(folder / "empty", environment)


def test_the_wheel_contains_only_its_own_files(wheel: Path) -> None:
    """Installing it does not replace files of MMDetection."""
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    (metadata,) = (name for name in tops if name.endswith(".dist-info"))
    assert tops == {"gfl_plugin", "gfl_plugin_cli.py", metadata}


def test_the_wheel_is_below_1_mb(wheel: Path) -> None:
    assert wheel.stat().st_size < 1_000_000


def test_the_wheel_contains_the_index_of_the_models_where_mim_looks(wheel: Path) -> None:
    index = [ROOT / "model-index.yml", *(ROOT / "configs").rglob("metafile.yml")]
    expected = {f"gfl_plugin/.mim/{path.relative_to(ROOT).as_posix()}": path.read_bytes() for path in index}
    archive = zipfile.ZipFile(wheel)
    assert len(index) > 1 and {name: archive.read(name) for name in expected} == expected


def test_the_wheel_contains_the_files_that_are_not_modules(wheel: Path) -> None:
    """Templates, scripts and styles, which are not Python modules, and the layouts of other toolboxes."""
    sources = [path for path in (ROOT / "gfl_plugin").rglob("*") if path.suffix in (".j2", ".js", ".css", ".json")]
    names = set(zipfile.ZipFile(wheel).namelist())
    assert len(sources) > 10
    assert [path.name for path in sources if path.relative_to(ROOT).as_posix() not in names] == []


def test_the_first_screen(shell: Shell) -> None:
    shown = shell.type("gfl-plugin")
    assert (shown.returncode, shown.stdout, shown.stderr) == (0, SCREEN, "")


def test_the_package_and_all_configs_are_those_of_the_wheel(shell: Shell) -> None:
    package, configs, names = json.loads(shell.type("python", "-W", "ignore", "-c", WHERE).stdout)
    assert Path(package).is_relative_to(shell.environment)
    assert Path(configs) == Path(package).parent / ".mim" / "configs"
    assert names == sorted(path.relative_to(ROOT / "configs").as_posix() for path in (ROOT / "configs").rglob("*.py"))


def test_training_and_testing_by_name(shell: Shell) -> None:
    """``work_dirs`` is created in the working directory."""
    trained = shell.type("gfl-plugin", "train", "gfl_plugin::demo/gfl_r18_demo.py", *ONE_EPOCH)
    assert trained.returncode == 0, trained.stderr[-3000:]
    assert "Epoch(train) [1][2/2]" in trained.stdout + trained.stderr
    checkpoint = Path("work_dirs", "gfl_r18_demo", "epoch_1.pth")
    assert (shell.folder / checkpoint).is_file()
    (shell.folder / "mine.py").write_text(
        '_base_ = "gfl_plugin::demo/gfl_r18_demo.py"\nmodel = dict(test_cfg=dict(score_thr=0.0))\n'
    )
    tested = shell.type("gfl-plugin", "test", "mine.py", checkpoint)
    assert tested.returncode == 0, tested.stderr[-3000:]
    assert "coco/bbox_mAP: " in tested.stdout + tested.stderr


def test_swap_reads_a_config_that_inherits_through_the_wheel_from_mmdetection(shell: Shell) -> None:
    (shell.folder / "coco.py").write_text(COCO_CONFIG)
    swapped = shell.type("gfl-plugin", "swap", "coco.py", "-o", "swapped.py", "--set", "reg_max=8")
    assert (swapped.returncode, swapped.stdout) == (0, "wrote swapped.py\n"), swapped.stderr
    written = (shell.folder / "swapped.py").read_text()
    assert '_base_ = "coco.py"' in written and "reg_max=8" in written
    assert "num_classes=3" in written and "strides=[8, 16, 32, 64, 128]" in written  # of both configs
