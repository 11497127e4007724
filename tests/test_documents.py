"""Every fenced block of README.md, CHANGELOG.md, CONTRIBUTING.md and docs/ works as a reader would use it.

Python that consists of assignments is a config: it is loaded on top of a base, and its model and hooks are built.
Python whose first line names a file is saved under that name. Other Python is run. The script of each command must
exist, its flags must be in its ``--help``, and its configs must exist. RUN lists commands that are run on small data,
NOT_RUN lists the others with the reason. A command that is in neither table fails the test.
"""

from __future__ import annotations

import ast
import functools
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from export.made_models import box_outputs, described, write_made
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import HOOKS, STRATEGIES, init_default_scope
from mmengine.runner import save_checkpoint
from tool import run_tool

import gfl_plugin
from gfl_plugin import find_config
from gfl_plugin.commands.script_runner import mmdet_tool
from gfl_plugin.demo.dataset import DemoSize, make_dataset
from gfl_plugin.export.runner import detect

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
# Bases for configs without ``_base_``: a small detector, and a COCO config.
BASES = {
    "small": f"_base_ = {str(ROOT / 'configs' / 'demo' / 'gfl_r18_demo.py')!r}\n",
    "coco": f"_base_ = {str(ROOT / 'configs' / 'gfl' / 'gfl_r50_fpn_1x_coco.py')!r}\n",
}
NOT_RUN = {
    "make": "creates an environment and runs for minutes; `make --dry-run` shows that the target exists",
    "mim": "is installed in an environment of its own; tests/mmdet_world/test_model_index.py reads what it reads",
    "pip": "installs packages; the test checks that setup.py names them",
    "pytest": "would run the tests in a test; the test checks that the files exist",
    "tools/train.py": "trains for hours; tests/e2e/test_scripts.py runs it on small data",
    "gfl-plugin train": "trains for hours; tests/e2e/test_wheel.py runs it on small data",
    "gfl-plugin test": "needs a trained model; tests/e2e/test_wheel.py runs it on small data",
    "gfl-plugin calibrate": "needs a trained model; tests/analysis/test_calibration.py runs it on small data",
    "gfl-plugin report": "needs a trained model; tests/analysis/report/test_report_command.py runs it on small data",
    "gfl-plugin export": "needs a trained model; tests/export/test_export_command.py runs it on a small one",
    "gfl-plugin predict": "needs a network as an ONNX file; tests/export/test_onnx_report.py runs it on a made one",
    "gfl-plugin run": "runs other people's scripts; tests/e2e/test_run.py runs them",
    "gfl-plugin demo": "trains for minutes; tests/e2e/test_demo.py runs it on small data",
    "gfl-plugin check-swaps": "takes hours; tests/projects/test_swap_head.py does the same for one config per family",
    "gfl-plugin ablate": "trains for hours; tests/analysis/test_studies.py runs a study",
    "gfl-plugin benchmark": "measures for minutes; tests/e2e/test_scripts.py runs one row",
    "tools/benchmark.py": "measures for minutes; tests/e2e/test_scripts.py runs one row",
    "gfl-plugin replay": "needs a record of a bad step; tests/runtime/test_step_record.py runs it",
    "model/detect.py": "needs an exported folder; tests/export/test_detect.py runs it",
    "tools/replay.py": "needs a record of a bad step; tests/runtime/test_step_record.py runs it",
}
RUN = (
    "gfl-plugin",
    "gfl-plugin init",
    "gfl-plugin swap",
    "gfl-plugin check-data",
    "gfl-plugin publish",
    "gfl-plugin widen",
    "gfl-plugin show",
    "tools/check_data.py",
    "tools/publish_model.py",
)
# A reader's own scripts in the documents.
SCRIPTS = ("my_script.py",)
# Placeholders that a reader replaces, with values for the small data.
FILLED_IN = {"CONFIG": str(ROOT / "configs" / "demo" / "gfl_r18_demo.py"), "STUDY": "components"}


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    place: str  # document and line
    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The file name in the first line, if there is one."""
        named = re.match(r"# (\w+\.py)$", self.text.splitlines()[0])
        return named[1] if named else None

    @property
    def is_config(self) -> bool:
        """Whether it is Python that consists of assignments."""
        return self.language == "python" and all(isinstance(line, ast.Assign) for line in ast.parse(self.text).body)


def blocks() -> list[Block]:
    found = []
    for document in DOCUMENTS:
        text = document.read_text()
        for match in re.finditer(r"^( *)```(\w*)\n(.*?)^\1```$", text, re.DOTALL | re.MULTILINE):
            place = f"{document.relative_to(ROOT)}:{text[: match.start()].count(chr(10)) + 1}"
            found.append(Block(place, match[2], textwrap.dedent(match[3])))
        fences = len(re.findall(r"^ *```", text, re.MULTILINE))
        assert fences == 2 * sum(one.place.startswith(f"{document.relative_to(ROOT)}:") for one in found), document
    return found


BLOCKS = blocks()
CONFIGS = [one for one in BLOCKS if one.is_config]
FILES = [one for one in BLOCKS if one.language == "python" and one.file]
PROGRAMS = [one for one in BLOCKS if one.language == "python" and not one.is_config and not one.file]


def commands() -> list[tuple[str, list[str]]]:
    """Place and words of each command in all bash blocks, without environment variables."""
    found = []
    for block in BLOCKS:
        if block.language == "bash":
            for line in block.text.replace("\\\n", " ").splitlines():
                words = shlex.split(re.sub(r"(^|\s)#.*", "", line))
                for command in _split(words, "&&"):
                    while command and re.match(r"[A-Z_]+=", command[0]):
                        command = command[1:]
                    if command:
                        found.append((block.place, command))
    return found


def _split(words: list[str], separator: str) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for word in words:
        if word == separator:
            parts.append([])
        else:
            parts[-1].append(word)
    return parts


COMMANDS = commands()


def parted(words: list[str]) -> tuple[str, list[str]]:
    """The program of a command, and its arguments.

    The program is ``gfl-plugin NAME``, a script run by Python or a launcher, or any other program.
    """
    if words[0] == "gfl-plugin" or "gfl_plugin.cli" in words:
        start = 0 if words[0] == "gfl-plugin" else words.index("gfl_plugin.cli")
        return " ".join(["gfl-plugin", *words[start + 1 : start + 2]]), words[start + 2 :]
    if "pytest" in words:
        return "pytest", words[words.index("pytest") + 1 :]
    start = next((n for n, word in enumerate(words) if word.endswith(".py") or words[0] in ("make", "pip")), 0)
    return words[start], words[start + 1 :]


def started(program: str) -> list[object]:
    """The script and first arguments that start a program from the checkout."""
    if program.startswith("gfl-plugin"):
        return [ROOT / "gfl_plugin_cli.py", *program.split()[1:]]
    if program == "model/detect.py":  # which is copied there
        return [Path(detect.__file__)]
    return [ROOT / program]


def is_installable(word: str) -> bool:
    """Whether pip can install it: the checkout, its wheel, or a requirement of setup.py with its version."""
    setup = (ROOT / "setup.py").read_text()
    local = re.fullmatch(
        rf"(?:\.|gfl_plugin-{re.escape(gfl_plugin.__version__)}-py3-none-any\.whl)(?:\[([\w,]+)\])?", word
    )
    if local:
        return all(f'"{extra}": ' in setup for extra in (local[1] or "runtime").split(","))
    return f'"{word}"' in setup or f'"{word}>=' in setup


def test_there_are_blocks_of_each_kind() -> None:
    """All blocks are Python or bash, and there is at least one block of each use."""
    # tests/export/test_layouts.py compares JSON and printed lines of other-networks.md with the code.
    others = [one for one in BLOCKS if "other-networks.md" not in one.place]
    assert {one.language for one in others} == {"python", "bash"}
    assert {one.language for one in BLOCKS} == {"python", "bash", "json", "text"}
    assert min(map(len, (CONFIGS, FILES, PROGRAMS, COMMANDS))) > 0
    for block in FILES:
        assert ast.parse(block.text).body, block.place


@pytest.mark.parametrize("base", list(BASES))
@pytest.mark.parametrize("block", CONFIGS, ids=lambda block: block.place)
def test_configs(block: Block, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each config loads, and its model, hooks and strategy are built."""
    for module in FILES:
        (tmp_path / module.file).write_text(module.text)
    monkeypatch.syspath_prepend(str(tmp_path))
    whole = "_base_" in block.text
    if whole and base != "small":
        pytest.skip("names its base itself")
    (tmp_path / "my_config.py").write_text(block.text if whole else BASES[base] + block.text)
    cfg = Config.fromfile(tmp_path / "my_config.py")
    init_default_scope(cfg.default_scope)
    head = MODELS.build(cfg.model).bbox_head
    own = {module.file.removesuffix(".py") for module in FILES} & set(cfg.get("custom_imports", {}).get("imports", []))
    assert type(head).__module__.startswith("gfl_plugin.") or type(head).__module__ in own
    for name in ("custom_hooks", "default_hooks"):
        named = cfg.get(name, [])
        for hook in named.values() if isinstance(named, dict) else named:
            if hook.type.startswith("gfl_plugin."):
                HOOKS.build(hook)
    if "strategy" in cfg:
        assert STRATEGIES.get(cfg.strategy.type) is not None
    parts = [head, head.quality, head.bbox_coder, head.assigner, *getattr(head.assigner, "hooks", [])]
    assert own <= {type(part).__module__ for part in parts}, "the head must contain the reader's own part"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reader's folder: small data, their own config, and an untrained checkpoint."""
    folder = tmp_path_factory.mktemp("reader")
    make_dataset(folder / "data", DemoSize(train=4, val=2, side=96))
    shutil.copytree(folder / "data", folder / "my_data")
    (folder / "my_fcos.py").write_text('_base_ = "mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py"\n')
    cfg = Config.fromfile(ROOT / "configs" / "demo" / "gfl_r18_demo.py")
    init_default_scope("mmdet")
    torch.manual_seed(0)
    detector = MODELS.build(cfg.model)
    classes = dict(classes=tuple("0123456789"))
    meta = dict(cfg=cfg.pretty_text, dataset_meta=classes, epoch=12, iter=48)
    for name in ("my_run", "my_config"):
        path = folder / "work_dirs" / name / "epoch_12.pth"
        path.parent.mkdir(parents=True)
        save_checkpoint(dict(meta=meta, state_dict=detector.state_dict()), str(path))
    base = ROOT / "configs" / "demo" / "gfl_r18_demo.py"
    (folder / "my_config.py").write_text(f"_base_ = {str(base)!r}\n")
    shutil.copy(next((folder / "data" / "val").iterdir()), folder / "image.jpg")
    shutil.copy(detect.__file__, folder)
    write_made(folder / "model.onnx", box_outputs([[5, 5, 30, 30]], [0.9], [0]), described())
    return folder


def run(folder: Path, program: str) -> subprocess.CompletedProcess:
    """Run a program of the folder as a reader does."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "GFL_DEMO_DATA": str(folder / "data"),
    }
    return subprocess.run(
        [sys.executable, "-W", "ignore", program],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        timeout=300,
    )


@functools.cache
def help_of(program: str) -> str:
    done = run_tool(*started(program), "--help")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("place", "words"), COMMANDS, ids=[f"{place}-{words[-1]}" for place, words in COMMANDS])
def test_commands(place: str, words: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each program exists and has the flags; those in RUN succeed."""
    program, arguments = parted(words)
    assert program in NOT_RUN or program in RUN, f"{place}: {program} is neither in RUN nor in NOT_RUN"
    if program == "make":
        done = subprocess.run(["make", "--dry-run", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and done.stdout, done.stderr
        return
    if program == "pip":
        assert arguments[0] in ("install", "wheel")
        folder_of_wheels = arguments[arguments.index("-w") + 1] if "-w" in arguments else None
        named = [one for one in arguments[1:] if not one.startswith("-") and one != folder_of_wheels]
        assert named and [one for one in named if not is_installable(one)] == []
        return
    if program == "pytest":
        files = [one for one in arguments if one.startswith("tests/")]
        assert files and [one for one in files if not (ROOT / one).exists()] == []
        return
    if program == "mim":
        assert arguments == ["search", "gfl_plugin"]
        return
    if program == "gfl-plugin run":
        assert arguments[0] in SCRIPTS or mmdet_tool(arguments[0]).is_file()
        return
    for word in arguments:
        if word.startswith("-"):
            assert re.search(rf"(^|[\s\[|,]){re.escape(word)}\b", help_of(program)), f"{place}: {program} has no {word}"
        if word.startswith("configs/"):
            assert (ROOT / word).exists()
        if "::" in word:
            assert find_config(word).is_file()
    if program.endswith(("ablate", "ablate.py")) and arguments[0] != "STUDY":
        assert (ROOT / "configs" / "ablation" / arguments[0]).is_dir()
    if program in RUN:
        monkeypatch.chdir(folder)
        filled_in = (FILLED_IN.get(word, word) for word in arguments)
        done = run_tool(*started(program), *filled_in, GFL_DEMO_DATA=folder / "data")
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("block", PROGRAMS, ids=lambda block: block.place)
def test_programs(block: Block, folder: Path) -> None:
    """Each program runs unchanged; published weights are saved under the name that it uses."""
    for name in re.findall(r"\"(\S+\.safetensors)\"", block.text):
        out = folder / "published"
        checkpoint = folder / "work_dirs" / "my_run" / "epoch_12.pth"
        done = run_tool(*started("gfl-plugin publish"), checkpoint, "--out", out)
        assert done.returncode == 0, done.stderr
        (weights,) = out.glob("*.safetensors")
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.move(weights, folder / name)
    (folder / "program.py").write_text(block.text)
    done = run(folder, "program.py")
    assert done.returncode == 0, done.stderr
