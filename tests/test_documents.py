"""Every fenced block of README.md and docs/ is used as a reader would paste it.

Python that only assigns is a config: it is loaded on top of a base, and its model and hooks are built. Python whose
first line names a file is saved under that name. Other Python is run. Of each command the script must exist, its flags
be those of its ``--help`` and its configs be there; RUN says which commands run on small data, NOT_RUN why the others
do not. A command that is in neither table fails the test.
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
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import HOOKS, STRATEGIES, init_default_scope
from mmengine.runner import save_checkpoint
from tool import run_tool

from gfl_plugin.demo.dataset import DemoSize, make_dataset
from gfl_plugin.runtime.run_script import mmdet_tool

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# A config that only says what it changes is pasted below these lines: a small detector, and MMDetection's own for COCO.
BASES = {
    "small": f"_base_ = {str(ROOT / 'configs' / 'demo' / 'gfl_r18_demo.py')!r}\n",
    "coco": f"_base_ = {str(ROOT / 'configs' / 'gfl' / 'gfl_r50_fpn_1x_coco.py')!r}\n",
}
NOT_RUN = {
    "make": "creates an environment and runs for minutes; `make --dry-run` shows that the target exists",
    "pip": "installs packages; that setup.py names them is looked at",
    "tools/train.py": "trains for hours; tests/e2e/test_scripts.py runs it on small data",
    "tools/test.py": "needs a trained model; tests/e2e/test_scripts.py runs it on small data",
    "tools/check_swaps.py": "takes hours; tests/projects/test_swap_head.py does the same for one config per family",
    "tools/ablate.py": "trains for hours; tests/analysis/test_studies.py runs a study",
    "tools/benchmark.py": "measures for minutes; tests/e2e/test_scripts.py runs one row",
    "tools/replay.py": "needs a record of a bad step; tests/runtime/test_step_record.py runs it",
}
RUN = ("tools/swap_head.py", "tools/check_data.py", "tools/publish_model.py")
# Places that a reader fills in, as small data has them.
FILLED_IN = {"CONFIG": str(ROOT / "configs" / "demo" / "gfl_r18_demo.py"), "STUDY": "components"}


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    place: str  # document and line
    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The name of the file that it is, where its first line says so."""
        named = re.match(r"# (\w+\.py)$", self.text.splitlines()[0])
        return named[1] if named else None

    @property
    def is_config(self) -> bool:
        """Whether it is Python that only assigns."""
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
    """Place and words of each command of all bash blocks, without what is set for it in the environment."""
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


def script_of(words: list[str]) -> str:
    """The script that Python or a launcher of processes runs, or the program itself."""
    if words[0] in ("python", "torchrun", "srun"):
        return next(word for word in words if word.endswith(".py"))
    return words[0]


def test_there_are_blocks_of_each_kind() -> None:
    """The pattern finds them: all are of these kinds, and none of the kinds is empty."""
    assert {one.language for one in BLOCKS} == {"python", "bash"}
    assert min(map(len, (CONFIGS, FILES, PROGRAMS, COMMANDS))) > 0
    for block in FILES:
        assert ast.parse(block.text).body, block.place


@pytest.mark.parametrize("base", list(BASES))
@pytest.mark.parametrize("block", CONFIGS, ids=lambda block: block.place)
def test_configs(block: Block, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They load, and model, hooks and strategy are built."""
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
    assert type(head).__module__.startswith("gfl_plugin.")
    for name in ("custom_hooks", "default_hooks"):
        named = cfg.get(name, [])
        for hook in named.values() if isinstance(named, dict) else named:
            if hook.type.startswith("gfl_plugin."):
                HOOKS.build(hook)
    if "strategy" in cfg:
        assert STRATEGIES.get(cfg.strategy.type) is not None
    for module in FILES:
        if module.file.removesuffix(".py") in cfg.custom_imports.imports:
            (hook,) = head.assigner.hooks
            assert type(hook).__module__ == module.file.removesuffix(".py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reader's folder: small data, a config of their own, an untrained checkpoint."""
    folder = tmp_path_factory.mktemp("reader")
    make_dataset(folder / "data", DemoSize(train=4, val=2, side=96))
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
def help_of(script: str) -> str:
    done = run_tool(ROOT / script, "--help")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("place", "words"), COMMANDS, ids=[f"{place}-{words[-1]}" for place, words in COMMANDS])
def test_commands(place: str, words: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script exists, and has the flags; those in RUN do their work."""
    script = script_of(words)
    if words[:3] == ["python", "-m", "gfl_plugin.runtime.run_script"]:
        assert mmdet_tool(script).is_file()  # tests/e2e/test_run.py runs them
        return
    assert script in NOT_RUN or script in RUN, f"{place}: {script} is neither in RUN nor in NOT_RUN"
    if script == "make":
        done = subprocess.run(["make", "--dry-run", *words[1:]], cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and done.stdout, done.stderr
        return
    if script == "pip":
        setup = (ROOT / "setup.py").read_text()
        assert words[1] == "install" and len(words) == 3
        extra = re.fullmatch(r"\.\[(\w+)\]", words[2])
        assert f'"{extra[1]}": ' in setup if extra else f'"{words[2]}>=' in setup
        return
    arguments = words[words.index(script) + 1 :]
    for word in arguments:
        if word.startswith("-"):
            assert re.search(rf"(^|[\s\[|,]){re.escape(word)}\b", help_of(script)), f"{place}: {script} has no {word}"
        if word.startswith("configs/"):
            assert (ROOT / word).exists()
    if script == "tools/ablate.py" and arguments[0] != "STUDY":
        assert (ROOT / "configs" / "ablation" / arguments[0]).is_dir()
    if script in RUN:
        monkeypatch.chdir(folder)
        filled_in = (FILLED_IN.get(word, word) for word in arguments)
        done = run_tool(ROOT / script, *filled_in, GFL_DEMO_DATA=folder / "data")
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("block", PROGRAMS, ids=lambda block: block.place)
def test_programs(block: Block, folder: Path) -> None:
    """They run as they are, where published weights have the name that they give."""
    for name in re.findall(r"\"(\S+\.safetensors)\"", block.text):
        out = folder / "published"
        checkpoint = folder / "work_dirs" / "my_run" / "epoch_12.pth"
        done = run_tool(ROOT / "tools" / "publish_model.py", checkpoint, "--out", out)
        assert done.returncode == 0, done.stderr
        (weights,) = out.glob("*.safetensors")
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.move(weights, folder / name)
    (folder / "program.py").write_text(block.text)
    done = run(folder, "program.py")
    assert done.returncode == 0, done.stderr
