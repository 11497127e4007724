"""Configs of installed packages load the same with and without pkg_resources."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import mmcv
import mmdet
import mmengine
import pytest

from gfl_plugin.runtime.compat import package_paths
from gfl_plugin.runtime.distributions import provider

USED = "pkg_resources" in (Path(mmengine.__file__).parent / "utils" / "package_utils.py").read_text()  # not in forks
BLOCK = """
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "pkg_resources" else find(name, *rest)
sys.modules["pkg_resources"] = None  # an import of it fails, as with setuptools 82
"""
LOAD = """
import gfl_plugin
from mmengine.config import Config
from mmengine.hub import hub
print(Config.fromfile("configs/gfl/gfl_r50_fpn_1x_coco.py").model.bbox_head.type)
print(hub.get_installed_path("mmdet").endswith("mmdet"), hub.install_package("mmdet"))
print(any("pkg_resources" in sentence for sentence in gfl_plugin.compat.prepare()))
"""


def test_mmdet_bases_load_without_pkg_resources(root: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(root)}
    output = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BLOCK + LOAD], capture_output=True, text=True, cwd=root, env=environment
    )
    assert output.returncode == 0, output.stderr[-2000:]
    assert output.stdout.splitlines() == ["gfl_plugin.GFLHead", "True None", str(USED)]


def test_paths_are_those_of_pkg_resources() -> None:
    """They are found by the name of the distribution and by the name of the module."""
    for package, module in (("mmdet", mmdet), ("mmcv", mmcv), (provider("mmcv").name, mmcv)):
        assert Path(package_paths.get_installed_path(package)) == Path(module.__file__).parent
        assert package_paths.is_installed(package)
    assert package_paths.package2module(provider("mmcv").name) == "mmcv"


@pytest.mark.parametrize("function", [package_paths.get_installed_path, package_paths.package2module])
def test_the_error_names_a_package_that_is_not_installed(function) -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        function("no_such_package")
    assert not package_paths.is_installed("no_such_package")


def test_a_folder_is_not_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "only_a_folder").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert not package_paths.is_installed("only_a_folder")
