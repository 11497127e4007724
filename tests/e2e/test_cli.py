"""The ``gfl-plugin`` command: help, errors, and configs by name."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cases import FIGURES, lines_of_errors
from mmengine.config import Config

from gfl_plugin import cli, find_config
from gfl_plugin.runtime import config_files

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "gfl_plugin" / "commands"
# One per folder of configs/.
CONFIGS = [
    next(folder.rglob("*.py")).relative_to(ROOT / "configs").as_posix()
    for folder in sorted((ROOT / "configs").iterdir())
    if folder.is_dir()
]


def typed(*words: object, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess:
    """Run ``gfl-plugin WORDS``."""
    return subprocess.run(
        [sys.executable, "-m", "gfl_plugin_cli", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        timeout=300,
    )


def test_the_first_screen_fits_a_terminal_and_names_every_command() -> None:
    shown = typed()
    lines = shown.stdout.splitlines()
    assert shown.returncode == 0 and shown.stderr == "" and shown.stdout == typed("--help").stdout
    assert len(lines) <= 23 and max(map(len, lines)) <= 80  # 24 lines, one of them the prompt
    assert set(re.findall(r"gfl-plugin ([a-z-]+)", shown.stdout)) == set(cli.COMMANDS)


def test_every_command_of_the_folder_is_in_the_table() -> None:
    modules = {path.stem for path in FOLDER.glob("*.py")} - {"__init__", "script_runner"}
    assert modules <= {name.replace("-", "_") for name in cli.COMMANDS}


@pytest.mark.parametrize("name", [name for name in cli.COMMANDS if (FOLDER / f"{name.replace('-', '_')}.py").is_file()])
def test_help_has_an_example_that_the_parser_accepts(name: str) -> None:
    command = importlib.import_module(f"gfl_plugin.commands.{name.replace('-', '_')}")
    parser = cli.parser_of(name, command)
    assert f"example:\n  {command.EXAMPLE}\n" in parser.format_help()
    words = re.sub(r"^([A-Z_]+=\S+ )*", "", command.EXAMPLE).split()
    assert words[:2] == ["gfl-plugin", name]
    if not getattr(command, "PASSES_ARGUMENTS", False):
        parser.parse_args(words[2:])


def test_help_imports_neither_pytorch_nor_mmdetection() -> None:
    """Help is shown even if these modules cannot be imported; importing them takes seconds."""
    code = (
        "import sys, gfl_plugin_cli\n"
        "class Refuse:\n"
        "    def find_spec(self, name, *rest):\n"
        "        assert name.split('.')[0] not in ('torch', 'numpy', 'mmengine', 'mmcv', 'mmdet', 'rich'), name\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "sys.exit(gfl_plugin_cli.main())"
    )
    for words in (["swap", "--help"], ["run", "--help"], ["check-data", "--help"], ["swapp"]):
        output = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=ROOT)
        assert output.returncode == (2 if words == ["swapp"] else 0), output.stderr
    started = time.perf_counter()
    typed("swap", "--help")
    FIGURES["gfl-plugin swap --help"] = f"{time.perf_counter() - started:.2f} s"


def test_train_help_is_followed_by_mmdetections_flags() -> None:
    shown = typed("train", "--help")
    assert shown.returncode == 0
    assert shown.stdout.index("example:\n  gfl-plugin train ") < shown.stdout.index("--auto-scale-lr")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["swapp"], "gfl-plugin: unknown command 'swapp'; the commands are: demo, init, train, test, run, swap, "),
        (["train"], "gfl-plugin train: error: no arguments are given"),
        (["init", "nowhere"], "gfl-plugin init: folder not found: "),
        (["swap", "x.py"], "gfl-plugin swap: error: the following arguments are required: -o/--out"),
        (["swap", "x.py", "-o", "y.py"], "gfl-plugin swap: config not found: x.py"),
        (["swap", "x.py", "-o", "y.py", "--set", "reg_max"], "gfl-plugin swap: --set reg_max has no value; write "),
        (["check-data", "x.py"], "gfl-plugin check-data: config not found: x.py. Name a file, one of this package"),
        (["publish", "x.pth"], "gfl-plugin publish: checkpoint not found: x.pth"),
        (["widen", "x.pth", "--reg-max", "24", "-o", "y.pth"], "gfl-plugin widen: checkpoint not found: x.pth"),
        (["widen", "x.pth", "--bins", "0,a", "-o", "y.pth"], "gfl-plugin widen: error: argument --bins: '0,a' is not "),
        (["replay", "x.pth"], "gfl-plugin replay: checkpoint not found: x.pth"),
        (
            ["train", "gfl_plugin::gfl/gfl_r50_fpn_1x.py"],
            "gfl-plugin train: config not found: gfl_plugin::gfl/gfl_r50_fpn_1x.py; similar ones: "
            "gfl_plugin::gfl/gfl_r50_fpn_1x_coco.py",
        ),
        (["test", "mmdet::x/y.py", "z.pth"], "gfl-plugin test: config not found: mmdet::x/y.py; its families: albu_"),
    ],
    ids=lambda one: "-".join(one) if isinstance(one, list) else "",
)
def test_a_mistake_is_a_one_line_error(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        status = cli.main(words)
    except SystemExit as end:  # raised by argparse
        status = end.code
    assert status == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith(message) and (len(lines) == 1 or lines[0].startswith("usage: ")), lines


@pytest.mark.parametrize("words", [[], ["train", "x.py"], ["replay", "x.pth"]], ids=lambda words: " ".join(words))
def test_without_mmdetection_the_error_names_the_installation_command(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['mmdet'] = sys.modules['torch'] = None\n")
    output = typed(*words, PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]))
    (line,) = lines_of_errors(output.stderr)
    assert output.returncode == 2
    assert line.startswith(" ".join(["gfl-plugin", *words[:1]]) + ": ")
    assert "did not find: torch, mmdet. Install the versions it is tested with by: pip install " in line


@pytest.mark.parametrize("name", CONFIGS)
def test_a_base_by_name_is_the_same_config_as_by_path(name: str, tmp_path: Path) -> None:
    """MMEngine alone would add ``_scope_`` to each dict of the base, which changes the meaning of names."""
    loaded = []
    for base in (f"gfl_plugin::{name}", str(ROOT / "configs" / name)):
        (tmp_path / "config.py").write_text(f"_base_ = {base!r}\nseed = 1\n")
        loaded.append(Config.fromfile(tmp_path / "config.py").to_dict())
    assert loaded[0] == loaded[1] != {"seed": 1}


def test_configs_are_found_by_name() -> None:
    assert find_config("gfl_plugin::demo/gfl_r18_demo.py") == ROOT / "configs" / "demo" / "gfl_r18_demo.py"
    found = find_config("mmdet::gfl/gfl_r50_fpn_1x_coco.py")
    assert Config.fromfile(found).model.bbox_head.type == "GFLHead"
    with pytest.raises(FileNotFoundError, match="config not found: nowhere.py"):
        find_config("nowhere.py")


def test_a_package_without_a_checkout_has_its_configs_in_mim(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "gfl_plugin"
    (package / ".mim" / "configs" / "gfl").mkdir(parents=True)
    (package / ".mim" / "configs" / "gfl" / "mine.py").write_text("")
    monkeypatch.setattr(config_files, "checkout", lambda: None)
    monkeypatch.setattr(config_files, "__file__", str(package / "runtime" / "config_files.py"))
    assert find_config("gfl_plugin::gfl/mine.py") == package / ".mim" / "configs" / "gfl" / "mine.py"


@pytest.mark.parametrize("source", ["gfl_plugin", "tools", "configs"])
def test_no_message_names_a_file_that_a_wheel_does_not_have(source: str) -> None:
    """Scripts of tools/ exist only in a checkout; names of MMDetection's scripts are allowed."""
    mine = "|".join(path.stem for path in (ROOT / "tools").glob("*.py") if path.stem not in ("train", "test"))
    named = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in (ROOT / source).rglob("*.py")
        if not (source == "tools" and "gfl_plugin_cli" not in path.read_text())  # not a shim
        for line in path.read_text().splitlines()
        if re.search(rf"tools/({mine})\.py", line)
    ]
    assert named == []


def test_a_plain_script_needs_a_base_that_imports_the_plugin(tmp_path: Path) -> None:
    """MMEngine reads the bases of a config before its custom_imports; docs/install.md describes the solution."""
    (tmp_path / "by_name.py").write_text('_base_ = "gfl_plugin::demo/gfl_r18_demo.py"\n')
    (tmp_path / "by_call.py").write_text(
        '_base_ = str(__import__("gfl_plugin").find_config("gfl_plugin::demo/gfl_r18_demo.py"))\n'
    )
    code = (
        "from mmengine.config import Config\n"
        "try:\n    Config.fromfile('by_name.py')\nexcept AssertionError as error:\n    print(error)\n"
        "print(Config.fromfile('by_call.py').model.bbox_head.type)\n"
        "print(Config.fromfile('by_name.py').model.bbox_head.type)\n"
    )
    output = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    told = "mmengine does not support to load gfl_plugin config."
    assert output.stdout.splitlines() == [told, "gfl_plugin.GFLHead", "gfl_plugin.GFLHead"], output.stderr
