"""Messages about missing packages name a command that works in the same environment."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cases import lines_of_errors

import gfl_plugin
from gfl_plugin.runtime import install_advice
from gfl_plugin.runtime.distributions import provider
from gfl_plugin.runtime.install_advice import MissingPackageError, install_command, module_or_advice

# The extra with the versions of the family that is installed here.
EXTRA = "onedl" if provider("mmdet").name == "onedl-mmdetection" else "runtime"
PINS = {
    "runtime": {"torch==2.13.0", "mmdet==3.3.0", "mmengine==0.10.7", "mmcv-lite==2.1.0"},
    "onedl": {"torch==2.13.0", "onedl-mmdetection==3.5.1", "onedl-mmengine==0.10.12", "onedl-mmcv==2.3.6"},
}
WITHOUT = (  # Python without these packages
    "import importlib.util as u; find = u.find_spec; "
    "u.find_spec = lambda name, *a: None if name in ('torch', 'mmdet') else find(name, *a); import gfl_plugin"
)


def told_without_mmdetection(package: Path) -> str:
    """The last line that a Python without MMDetection prints when it imports the package in a folder."""
    environment = {**os.environ, "PYTHONPATH": str(package)}
    output = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, env=environment, cwd="/")
    assert output.returncode != 0
    return output.stderr.strip().splitlines()[-1]


def command_in(message: str) -> list[str]:
    """The words of the command in a message, as a shell splits them."""
    return shlex.split(re.search(r"pip install .+?(?= \(or|$)", message)[0])


def dry_run(command: list[str]) -> subprocess.CompletedProcess:
    """Run the command with --dry-run, without downloads and build isolation."""
    pip = [sys.executable, "-m", *command, "--dry-run", "--no-index", "--no-deps", "--no-build-isolation"]
    return subprocess.run(pip, capture_output=True, text=True, cwd="/")


@pytest.fixture
def checkout(root: Path, tmp_path: Path) -> Path:
    """A copy of the checkout in a folder whose name a shell would split."""
    folder = tmp_path / "a check out"
    shutil.copytree(root / "gfl_plugin", folder / "gfl_plugin", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(root / "configs", folder / "configs")
    for name in ("setup.py", "README.md", "gfl_plugin_cli.py", "model-index.yml"):
        shutil.copy(root / name, folder)
    return folder


def test_pip_accepts_the_command_that_a_checkout_names(checkout: Path) -> None:
    message = told_without_mmdetection(checkout)
    assert "did not find: torch, mmdet" in message
    command = command_in(message)
    assert command[-1] == f"{checkout}[{EXTRA}]"
    done = dry_run(command)
    assert done.returncode == 0 and "Would install gfl_plugin" in done.stdout.replace("-", "_"), done.stderr


def test_an_installed_wheel_names_the_versions_of_its_metadata(checkout: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(site), str(checkout)], check=True, capture_output=True)
    command = command_in(told_without_mmdetection(site))
    assert PINS[EXTRA] <= set(command)
    assert not any("extra" in part or "gfl_plugin" in part for part in command)
    done = dry_run(
        [*command[:2], *(part for part in command[2:] if part.startswith(("mmdet", "onedl-mmdet", "numpy")))]
    )
    assert done.returncode == 0, done.stderr  # pip reads them as requirements


def test_a_copy_without_metadata_names_the_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(install_advice, "__file__", str(tmp_path / "gfl_plugin" / "runtime" / "install_advice.py"))
    monkeypatch.setattr(install_advice.metadata, "requires", lambda name: None)
    assert install_command("demo", ["scikit-learn"]) == "pip install scikit-learn"


def test_other_conditions_of_a_marker_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    required = ['a>=1; extra == "demo"', 'b; python_version < "3.11" and extra == "demo"', "c", 'd; extra == "dev"']
    monkeypatch.setattr(install_advice, "__file__", str(tmp_path / "gfl_plugin" / "runtime" / "install_advice.py"))
    monkeypatch.setattr(install_advice.metadata, "requires", lambda name: required)
    assert shlex.split(install_command("demo", [])) == ["pip", "install", "a>=1", 'b; python_version < "3.11"']


def test_the_error_of_an_optional_package_names_the_same_command() -> None:
    with pytest.raises(MissingPackageError) as error:
        module_or_advice("no_such_package.part", "publish")
    assert str(error.value) == (
        "no_such_package is not installed; install it by: " + install_command("publish", ["no_such_package"])
    )


def test_the_error_names_the_module_that_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An installed package may import one that it does not require."""
    (tmp_path / "installed_one.py").write_text("import no_such_package.part\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(MissingPackageError, match="^no_such_package is not installed"):
        module_or_advice("installed_one", "report")


def test_no_message_names_a_package_that_pip_cannot_find(root: Path) -> None:
    """The package is not on PyPI, so ``pip install 'gfl_plugin[...]'`` would fail."""
    sources = [path for folder in ("gfl_plugin", "tools") for path in (root / folder).rglob("*.py")]
    assert len(sources) > 50 and Path(gfl_plugin.__file__) in sources
    assert [path.name for path in sources if re.search(r"(?<!\})gfl_plugin\[", path.read_text())] == []


@pytest.mark.parametrize(
    ("blocked", "extra", "command"),
    [
        ("sklearn", "demo", ("ablate.py", "components", "--work-dir", "{tmp}/study/components")),
        ("sklearn", "demo", ("demo.py", "--out", "{tmp}/demo")),
        ("mmengine", EXTRA, ("ablate.py", "components")),
        ("mmengine", EXTRA, ("demo.py",)),
        ("mmengine", EXTRA, ("replay.py", "record.pth")),
    ],
)
def test_a_tool_without_its_extra_is_a_one_line_error(
    root: Path, tmp_path: Path, blocked: str, extra: str, command: tuple[str, ...]
) -> None:
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules[{blocked!r}] = None\n")  # cannot be imported
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(root)])}
    name, *arguments = (part.format(tmp=tmp_path) for part in command)
    output = subprocess.run(
        [sys.executable, "-W", "ignore", str(root / "tools" / name), *arguments],
        capture_output=True,
        text=True,
        env=environment,
    )
    (line,) = lines_of_errors(output.stderr)
    assert output.returncode == 2
    assert line.startswith((f"{name}: ", f"gfl-plugin {name.removesuffix('.py')}: "))
    assert install_command(extra, []) in line
