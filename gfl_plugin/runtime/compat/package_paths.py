"""Paths of installed packages without ``pkg_resources``.

Problem: MMEngine locates the packages of ``mmdet::`` configs with ``pkg_resources``, which setuptools 82 has removed.
    Every ``_base_ = "mmdet::..."`` then raises ``No module named 'pkg_resources'``.
Versions: MMEngine <= 0.10.7 with setuptools >= 82, or without setuptools. onedl-mmengine does not need it.
Change: packages are located with ``importlib``. Where ``pkg_resources`` is installed or not used, nothing is changed.
Not needed when: MMEngine does not import ``pkg_resources``.
"""

from __future__ import annotations

import importlib.util
from importlib import metadata
from pathlib import Path
from types import ModuleType


def close() -> str:
    """Replace MMEngine's functions that import ``pkg_resources``.

    Returns:
        What was changed; "" where ``pkg_resources`` is installed, or MMEngine does not import it.
    """
    from mmengine import hub, utils
    from mmengine.config import config
    from mmengine.utils import package_utils

    if importlib.util.find_spec("pkg_resources") is not None or not _imports_pkg_resources(package_utils):
        return ""
    package_utils.package2module = package2module
    # All of these modules have imported the functions by name.
    for module in (package_utils, utils, config):
        module.is_installed = is_installed
    for module in (package_utils, utils, config, hub.hub):
        module.get_installed_path = get_installed_path
    return "packages of mmdet:: configs are located without pkg_resources"


def _imports_pkg_resources(module: ModuleType) -> bool:
    """Whether a function of a module imports ``pkg_resources`` when it is called."""
    codes = (getattr(one, "__code__", None) for one in vars(module).values())
    return any("pkg_resources" in code.co_names for code in codes if code is not None)


def is_installed(package: str) -> bool:
    """Check whether a package is installed.

    Args:
        package: name of the distribution (``mmcv-lite``) or of the module (``mmcv``).

    Returns:
        True if it is installed; a folder without ``__init__.py`` does not count.
    """
    try:
        metadata.distribution(package)
    except metadata.PackageNotFoundError:
        spec = importlib.util.find_spec(package)
        return spec is not None and spec.origin is not None
    return True


def get_installed_path(package: str) -> str:
    """Locate the folder of a package.

    Args:
        package: name of the distribution (``mmcv-lite``) or of the module (``mmcv``).

    Returns:
        The path of the folder.

    Raises:
        PackageNotFoundError: if the package is not installed.
        RuntimeError: if the module is a folder without ``__init__.py``.
    """
    spec = importlib.util.find_spec(package)
    if spec is None:
        spec = importlib.util.find_spec(package2module(package))
    if spec is None or spec.origin is None:
        raise RuntimeError(f"{package} has no __init__.py, so it has no path")
    return str(Path(spec.origin).parent)


def package2module(package: str) -> str:
    """Look up the module of a distribution.

    Args:
        package: name of the distribution.

    Returns:
        The name of the module; of several, the first with an ``__init__.py``.

    Raises:
        PackageNotFoundError: if the distribution is not installed.
        ValueError: if its metadata does not name a module.
    """
    names = (metadata.distribution(package).read_text("top_level.txt") or "").split()
    if not names:
        raise ValueError(f"the metadata of {package} does not name a module")
    found = ((name, importlib.util.find_spec(name)) for name in names)
    return next((name for name, spec in found if spec is not None and spec.origin is not None), names[0])
