"""Importing gfl_plugin changes what docs/compat.md lists, and nothing else."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from compat_document import DOCUMENT, patch_of
from mmengine.device import get_device

from gfl_plugin.runtime import compat
from gfl_plugin.runtime.distributions import provider

SCRIPT = Path(__file__).parent / "import_effects.py"
FORK = provider("mmengine").name == "onedl-mmengine"
# Whether each condition in the last column of the table of changed attributes is true in this environment.
HOLDS = {
    "always": True,
    "without an accelerator": get_device() == "cpu",
    "without `pkg_resources`": importlib.util.find_spec("pkg_resources") is None and not FORK,
    "with onedl-mmengine": FORK,
}
PATCHES = sorted(Path(compat.__file__).parent.glob("*.py"))


@pytest.fixture(scope="module")
def effects() -> dict:
    done = subprocess.run([sys.executable, "-W", "ignore", SCRIPT], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout[done.stdout.index("{") :])  # the forks print messages before it


def documented() -> dict[str, str]:
    """The changed attributes that the document lists, with the condition of each."""
    text = DOCUMENT.read_text().partition("## Changed attributes")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([\w.]+)` \|.*\| ([^|]+) \|$", text, re.MULTILINE)
    return dict(rows)


def test_changed_attributes_are_those_of_the_document(effects: dict) -> None:
    expected = {name for name, when in documented().items() if HOLDS[when]}
    assert set(effects["attributes"]) == expected


def test_no_setting_changes_but_the_file_backends(effects: dict) -> None:
    """Settings are environment, paths, warnings, loggers, signals, random states, threads, NumPy and PyTorch."""
    settings = dict(effects["settings"])
    before, after = settings.pop("file backends")
    assert sorted(set(after) - set(before)) == ["gfl_plugin.whole"] and set(before) < set(after)
    assert settings == {}


def test_nothing_is_started(effects: dict) -> None:
    """The import starts no thread, opens no connection and registers no function for forked processes."""
    assert effects["calls"] == []


def test_safe_globals_and_registries_are_those_of_the_document(effects: dict) -> None:
    text = DOCUMENT.read_text()
    missing = [name for name in effects["safe globals"] + effects["children"] if f"`{name}`" not in text]
    own = [name for name in missing if not name.startswith("mmdet.registry.MMENGINE_")]  # aliases of MMEngine's
    assert own == []


@pytest.mark.once
def test_the_script_detects_changes() -> None:
    """A changed attribute, setting and call are found, so the other tests can fail."""
    code = SCRIPT.read_text().replace(
        "import gfl_plugin  # noqa: E402",
        "import gfl_plugin, mmengine.utils; mmengine.utils.is_str = None; os.environ['X_Y'] = '1'; "
        "threading.Thread(target=print).start()",
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout[done.stdout.index("{") :])
    assert "mmengine.utils.is_str" in found["attributes"]
    assert "environment" in found["settings"] and found["calls"] == ["threading.Thread.start"]


@pytest.mark.parametrize("gap", compat._GAPS, ids=lambda gap: gap.__name__.rsplit(".", 1)[1])
def test_each_patch_describes_problem_versions_change_and_removal(gap) -> None:
    assert all(patch_of(gap.__doc__).values())


def test_each_file_of_compat_is_a_patch() -> None:
    names = {gap.__name__.rsplit(".", 1)[1] for gap in compat._GAPS}
    assert {path.stem for path in PATCHES} == names | {"__init__", "private_names"}
