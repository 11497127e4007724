"""Creates environments, tests the plugin in each, and prints the table of docs/environments.md.

python tests/environments.py                     # lists the set-ups
python tests/environments.py lite-py311 onedl-py311

Each environment is created in a temporary folder and deleted afterwards; ``--folder`` chooses the folder, ``--keep``
keeps the environments. PyTorch is installed first. A set-up that cannot be installed or does not work also gets a row.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
TORCH = "torch==2.13.0"
NEWEST_SETUPTOOLS = "setuptools>=82"  # without pkg_resources
# Of the extra "dev": what the tests below and the data of the demo need.
TEST_PACKAGES = ("pytest", "hypothesis", "psutil", "safetensors", "scikit-learn", "pillow")
TESTS = (
    *("tests/runtime/test_compat.py", "tests/runtime/test_package_paths.py", "tests/runtime/test_checkpoints.py"),
    *("tests/runtime/test_distributions.py", "tests/runtime/test_private_names.py", "tests/ops/test_nms.py"),
    *("tests/losses/test_distribution_focal_loss.py", "tests/losses/test_negatives.py"),
)
COLUMNS = ("set-up", "Python", "PyTorch", "NumPy", "OpenCV", "setuptools", "packages")
CHECKS = ("`mmdet::` base", "trains and resumes", "tests", "date")


@dataclass(frozen=True)
class Setup:
    """An environment to create."""

    name: str
    python: str  # version of the interpreter, such as "3.11"
    extra: str = "runtime"  # of setup.py
    torch: str = TORCH
    others: tuple[str, ...] = (NEWEST_SETUPTOOLS,)  # requirements that replace or extend those of the extra
    wheel: bool = False  # whether the wheel of GFL_MMCV_WHEEL replaces mmcv-lite


SETUPS = (
    *(Setup(f"lite-py{version.replace('.', '')}", version) for version in ("3.10", "3.11", "3.12", "3.13", "3.14")),
    Setup("lite-setuptools81", "3.11", others=("setuptools<82",)),
    Setup("lite-numpy1", "3.11", others=(NEWEST_SETUPTOOLS, "numpy==1.26.4")),
    Setup("compiled-py311", "3.11", wheel=True),
    Setup("lite-torch26", "3.11", torch="torch==2.6.0"),
    Setup("lite-torch25", "3.11", torch="torch==2.5.1"),
    *(Setup(f"onedl-py{version.replace('.', '')}", version, "onedl") for version in ("3.10", "3.11", "3.12", "3.13")),
)


class SetupError(RuntimeError):
    """Raised if an environment cannot be created; the message is one line."""


def main() -> int:
    """Create and test the named environments.

    Returns:
        The exit status: 1 if a set-up does not work.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *(one.name for one in SETUPS)], metavar="NAME")
    parser.add_argument("--folder", type=Path, help="where the environments are created")
    parser.add_argument("--keep", action="store_true", help="do not delete the environments; reuse existing ones")
    arguments = parser.parse_args()
    if not arguments.names:
        print(*(f"{one.name}: Python {one.python}, extra {one.extra}, {one.torch}" for one in SETUPS), sep="\n")
        return 0
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="environments-"))
    print(table_head(), flush=True)
    all_work = True
    for setup in (one for one in SETUPS if one.name in arguments.names):
        place = folder / setup.name
        row, works = checked(setup, place)
        print(row, flush=True)
        all_work &= works
        if not arguments.keep:
            shutil.rmtree(place, ignore_errors=True)
    return 0 if all_work else 1


def table_head() -> str:
    """The first two lines of the table."""
    names = (*COLUMNS, *CHECKS)
    return "\n".join(["| " + " | ".join(names) + " |", "|" + "---|" * len(names)])


def checked(setup: Setup, place: Path) -> tuple[str, bool]:
    """Create an environment and test the plugin in it.

    Args:
        setup: to create.
        place: folder of the environment.

    Returns:
        The row of the table, and whether everything worked.
    """
    date = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    try:
        python = created(setup, place)
    except SetupError as error:
        return f"| {setup.name} | {setup.python} {'| ' * (len(COLUMNS) - 1)}| | {error} | {date} |", False
    checks = [base(python, place), training(place), tests(python)]
    cells = [setup.name, *versions(python), *(text for text, _ in checks), date]
    return f"| {' | '.join(cells)} |", all(works for _, works in checks)


# ---------------------------------------------------------------------------------------------------
# Creating an environment
# ---------------------------------------------------------------------------------------------------


def created(setup: Setup, place: Path) -> Path:
    """Create the environment unless it exists.

    Args:
        setup: to create.
        place: its folder.

    Returns:
        Its interpreter.

    Raises:
        SetupError: if the interpreter is missing, or pip cannot install the packages.
    """
    python = place / "bin" / "python"
    if (place / "complete").exists():
        return python
    wheel = os.environ.get("GFL_MMCV_WHEEL")
    if setup.wheel and not wheel:
        raise SetupError("GFL_MMCV_WHEEL does not name a wheel of mmcv")
    step([interpreter(setup.python), "-m", "venv", "--clear", str(place)])
    step([python, "-m", "pip", "install", setup.torch])
    step([python, "-m", "pip", "install", setup.torch, *requirements(setup)])
    step([python, "-m", "pip", "install", "--no-deps", "--editable", str(ROOT)])
    if setup.wheel:
        step([python, "-m", "pip", "uninstall", "--yes", "mmcv-lite"])
        step([python, "-m", "pip", "install", "--no-deps", str(wheel)])
    (place / "complete").touch()
    return python


def interpreter(version: str) -> str:
    """Find the interpreter of a version, also among those of pyenv, which need not be on the path.

    Args:
        version: such as "3.11".

    Returns:
        Its path.

    Raises:
        SetupError: if there is none.
    """
    folder = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    named = shutil.which(f"python{version}")
    for path in [*(str(one) for one in sorted(folder.glob(f"{version}.*/bin/python"))), *([named] if named else [])]:
        code = "import sys; print('%d.%d' % sys.version_info[:2])"
        if subprocess.run([path, "-c", code], capture_output=True, text=True).stdout.strip() == version:
            return path
    raise SetupError(f"no interpreter of Python {version}")


def requirements(setup: Setup) -> list[str]:
    """The requirements of a set-up besides PyTorch: of its extra, of the tests, and its own.

    Args:
        setup: to create.

    Returns:
        The requirements; those of the set-up replace others of the same name.
    """
    with mock.patch("setuptools.setup") as described:
        runpy.run_path(str(ROOT / "setup.py"))
    extras = described.call_args.kwargs["extras_require"]
    used = [*extras[setup.extra], *(one for one in extras["dev"] if name_of(one) in TEST_PACKAGES)]
    replaced = {name_of(one) for one in (setup.torch, *setup.others)}
    return [one for one in used if name_of(one) not in replaced] + list(setup.others)


def name_of(requirement: str) -> str:
    """The name of the distribution in a requirement."""
    return re.match(r"[\w.-]+", requirement)[0]


def step(command: list[object]) -> None:
    """Run one command of an installation.

    Args:
        command: its words.

    Raises:
        SetupError: with its error if it fails.
    """
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise SetupError(reason(done))


def reason(done: subprocess.CompletedProcess) -> str:
    """The last error that a program has printed, in one line."""
    lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"ERROR: |[\w.]*(Error|Exception)\b", line)]
    return f"`{(errors or lines or ['exit status ' + str(done.returncode)])[-1][:160].replace('|', '/')}`"


# ---------------------------------------------------------------------------------------------------
# Testing it
# ---------------------------------------------------------------------------------------------------


def versions(python: Path) -> list[str]:
    """The cells of the table that describe an environment."""
    listed = run([python, "-m", "pip", "list", "--format=json", "--disable-pip-version-check"])
    found = {one["name"].lower(): one["version"] for one in json.loads(listed.stdout)}
    own = run([python, "-c", "import platform; print(platform.python_version())"]).stdout.strip()
    names = [name for name in found if re.fullmatch(r"(onedl-)?mm(engine|cv|det|detection)(-lite)?", name)]
    columns = [found.get(name, "") for name in ("torch", "numpy", "opencv-python", "setuptools")]
    return [own, *columns, ", ".join(f"{name} {found[name]}" for name in names)]


def base(python: Path, place: Path) -> tuple[str, bool]:
    """Whether a config that inherits from one of MMDetection is loaded; also makes the data for the training."""
    code = (
        "import gfl_plugin, sys; from mmengine.config import Config; from pathlib import Path; "
        "from gfl_plugin.demo.dataset import DemoSize, make_dataset; "
        "make_dataset(Path(sys.argv[1]), DemoSize(train=8, val=4, side=64)); "
        "assert Config.fromfile('configs/gfl/gfl_r50_fpn_1x_coco.py').model.bbox_head.type == 'gfl_plugin.GFLHead'"
    )
    done = run([python, "-W", "ignore", "-c", code, place / "data"])
    return ("loads", True) if done.returncode == 0 else (reason(done), False)


def training(place: Path) -> tuple[str, bool]:
    """Whether one epoch of the demo is trained and evaluated, and a second one from the checkpoint of the first."""
    train = [
        place / "bin" / "gfl-plugin",
        "train",
        "configs/demo/gfl_r18_demo_trusted.py",
        "--work-dir",
        place / "work",
    ]
    shutil.rmtree(place / "work", ignore_errors=True)
    for what, options in (("training", ("1",)), ("resuming", ("2", "--resume"))):
        words = [*train, *options[1:], "--cfg-options", f"train_cfg.max_epochs={options[0]}"]
        done = run(words, GFL_DEMO_DATA=str(place / "data"))
        if done.returncode:
            return f"{what} fails: {reason(done)}", False
    return "yes", True


def tests(python: Path) -> tuple[str, bool]:
    """The result of the tests, with the names of those that fail."""
    done = run([python, "-m", "pytest", "-p", "no:cacheprovider", "-rfE", "--durations=0", *TESTS])
    summary = re.findall(r"^(?:=+ )?(\d+ \w+.*?) in [\d.]+s", done.stdout, re.MULTILINE)
    failed = re.findall(r"^(?:FAILED|ERROR) \S*?(\w+\.py\S*)", done.stdout, re.MULTILINE)
    text = summary[-1] if summary else reason(done)
    return text + (f": {', '.join(f'`{one}`' for one in failed)}" if failed else ""), done.returncode == 0


def run(words: list[object], **variables: str) -> subprocess.CompletedProcess:
    """Run a program of an environment in the checkout."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    command = [str(word) for word in words]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={**kept, **variables})


if __name__ == "__main__":
    sys.exit(main())
