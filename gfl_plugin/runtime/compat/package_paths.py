"""MMEngine finds the packages of ``mmdet::`` configs through ``pkg_resources``, which setuptools 82 and newer lack.

Without it any ``_base_ = "mmdet::..."`` ends in ``No module named 'pkg_resources'``. Here packages are found by
``importlib``. Where ``pkg_resources`` is installed, nothing is changed.

Versions: MMEngine <= 0.10.7 with setuptools >= 82, or without setuptools. Can go when MMEngine does not import
``pkg_resources``.
"""

from __future__ import annotations

import importlib.util
from importlib import metadata
from pathlib import Path


def close() -> str:
    if importlib.util.find_spec("pkg_resources") is not None:
        return ""
    from mmengine import hub, utils
    from mmengine.config import config
    from mmengine.utils import package_utils

    package_utils.package2module = package2module
    # Each of these modules has imported the functions by name.
    for module in (package_utils, utils, config):
        module.is_installed = is_installed
    for module in (package_utils, utils, config, hub.hub):
        module.get_installed_path = get_installed_path
    return "packages of mmdet:: configs are found without pkg_resources"


def is_installed(package: str) -> bool:
    """Whether a package is installed, by the name that pip knows or by its module's.

    A folder without ``__init__.py`` that has such a name does not count.
    """
    try:
        metadata.distribution(package)
    except metadata.PackageNotFoundError:
        spec = importlib.util.find_spec(package)
        return spec is not None and spec.origin is not None
    return True


def get_installed_path(package: str) -> str:
    """The folder of a package's module.

    Args:
        package: the name that pip knows (``mmcv-lite``), or the module's (``mmcv``).

    Raises:
        PackageNotFoundError: where there is no such package.
        RuntimeError: where the module is a folder without ``__init__.py``.
    """
    spec = importlib.util.find_spec(package)
    if spec is None:
        spec = importlib.util.find_spec(package2module(package))
    if spec is None or spec.origin is None:
        raise RuntimeError(f"{package} is not a module with an __init__.py, so it has no path of its own")
    return str(Path(spec.origin).parent)


def package2module(package: str) -> str:
    """The module's name of a package, by the name that pip knows.

    Raises:
        PackageNotFoundError: where it is not installed.
        ValueError: where its metadata does not name a module.
    """
    names = (metadata.distribution(package).read_text("top_level.txt") or "").split()
    if not names:
        raise ValueError(f"can not infer the module name of {package}")
    return names[0]
