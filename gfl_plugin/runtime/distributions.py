"""The installed distributions that provide MMEngine, mmcv and MMDetection.

Two families of distributions provide the same modules: OpenMMLab's packages, and their maintained forks, whose names
start with ``onedl-``. Imports the standard library only: it is needed where PyTorch and MMDetection are missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata


@dataclass(frozen=True)
class Family:
    """A family of distributions that provide MMEngine, mmcv and MMDetection."""

    extra: str  # extra of setup.py that installs it
    names: dict[str, tuple[str, ...]]  # distributions that provide each module


OPENMMLAB = Family(
    extra="runtime",
    names={"mmengine": ("mmengine", "mmengine-lite"), "mmcv": ("mmcv", "mmcv-lite"), "mmdet": ("mmdet",)},
)
ONEDL = Family(
    extra="onedl",
    names={"mmengine": ("onedl-mmengine",), "mmcv": ("onedl-mmcv",), "mmdet": ("onedl-mmdetection",)},
)


@dataclass(frozen=True)
class Installed:
    """An installed distribution."""

    name: str
    version: str


def provider(module: str) -> Installed | None:
    """Look up the distribution that provides a module.

    Args:
        module: ``mmengine``, ``mmcv`` or ``mmdet``.

    Returns:
        The first installed distribution of both families; None if there is none, as for a folder on ``sys.path``.
    """
    for family in (OPENMMLAB, ONEDL):
        for name in family.names[module]:
            try:
                return Installed(name, metadata.version(name))
            except metadata.PackageNotFoundError:
                continue
    return None


def installed_family() -> Family:
    """The family whose packages are installed.

    Returns:
        The forks if one of them is installed and no package of OpenMMLab is; else OpenMMLab's.
    """
    found = [one for one in map(provider, OPENMMLAB.names) if one is not None]
    forks = {name for names in ONEDL.names.values() for name in names}
    return ONEDL if found and all(one.name in forks for one in found) else OPENMMLAB
