"""The command that installs what is missing. This package is not on PyPI, so the command depends on where it lies.

Imports the standard library only: it is needed where PyTorch and MMDetection are missing.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import shlex
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from types import ModuleType

from .distributions import installed_family

_NAME = "gfl_plugin"
_RUNTIME = ("torch", "mmengine", "mmcv", "mmdet")  # modules without which nothing of it can be imported
_EXTRA = re.compile(r"""(?:\s+and\s+)?\bextra\s*==\s*['"](?P<extra>[^'"]+)['"]""")


class MissingPackageError(ImportError):
    """A package that is not installed; the message is one line with the command that installs it."""


def install_command(extra: str, packages: Sequence[str]) -> str:
    """A ``pip install`` command that can be pasted into a shell.

    Args:
        extra: of ``setup.py``: runtime, onedl, demo, init, ablation, calibrate, report, export, tools,
            publish, docs or dev.
        packages: what is missing, for a copy of the package that has neither ``setup.py`` nor metadata.

    Returns:
        In a checkout, the command that installs its extra; for an installed wheel, the one that installs the
        requirements that the wheel's metadata lists under the extra; else the one that installs the packages.
    """
    folder = checkout()
    if folder:
        return f"pip install {shlex.quote(f'{folder}[{extra}]')}"
    return "pip install " + " ".join(shlex.quote(one) for one in _required_by(extra) or packages)


def checkout() -> Path | None:
    """The checkout that this package is imported from; None for an installed wheel."""
    folder = Path(__file__).resolve().parents[2]
    try:
        found = f'name="{_NAME}"' in (folder / "setup.py").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    return folder if found else None


def require_runtime() -> None:
    """Check that the packages that gfl_plugin runs inside are installed.

    Raises:
        MissingPackageError: if one is missing; the message is one line with the command that installs it.
    """
    missing = [name for name in _RUNTIME if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingPackageError(
            f"gfl_plugin runs inside MMDetection and did not find: {', '.join(missing)}. Install the versions it is "
            f"tested with by: {install_command(installed_family().extra, missing)} (or bring your own mmdet 3.x with "
            "its mmcv and torch)."
        )


def _required_by(extra: str) -> list[str]:
    """The requirements of an extra, from the metadata of the installed package; [] where it has none."""
    try:
        requirements = metadata.requires(_NAME) or []
    except metadata.PackageNotFoundError:
        return []
    found = []
    for requirement in requirements:
        package, _, marker = (part.strip() for part in requirement.partition(";"))
        named = _EXTRA.search(marker)
        if named is None or named["extra"] != extra:
            continue
        rest = _EXTRA.sub("", marker).strip()
        found.append(f"{package}; {rest}" if rest else package)
    return found


_DISTRIBUTIONS = {
    "sklearn": "scikit-learn",
    "vl_convert": "vl-convert-python",
    "PIL": "pillow",
}  # names that pip knows, where they differ from the module's


def module_or_advice(name: str, extra: str) -> ModuleType:
    """An optional package's module.

    Args:
        name: of the module, such as ``sklearn.datasets``.
        extra: of this package's, which brings it.

    Raises:
        MissingPackageError: where it is not installed; the message says what installs it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        # The missing module may be one that the package itself imports.
        module = (error.name or name).split(".")[0]
        package = _DISTRIBUTIONS.get(module, module)
        raise MissingPackageError(
            f"{package} is not installed; install it by: {install_command(extra, [package])}"
        ) from error
