"""Both families of distributions are found by their metadata, and messages name the package of the installed one."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from mmengine.runner import checkpoint as mmengine_checkpoint

from gfl_plugin.commands import benchmark
from gfl_plugin.runtime import install_advice
from gfl_plugin.runtime.compat import checkpoint_loaders, fork_messages, mmcv_ops, package_paths
from gfl_plugin.runtime.distributions import ONEDL, OPENMMLAB, Installed, installed_family, provider
from gfl_plugin.runtime.errors import CheckpointError
from gfl_plugin.runtime.install_advice import MissingPackageError

OPENMMLABS = {"mmengine": "0.10.7", "mmcv-lite": "2.1.0", "mmdet": "3.3.0"}
FORKS = {"onedl-mmengine": "0.10.12", "onedl-mmcv": "2.3.6", "onedl-mmdetection": "3.5.1"}


def install(folder: Path, patch: pytest.MonkeyPatch, distributions: dict[str, str]) -> None:
    """Let these be the only installed distributions: a folder with their metadata is the whole of ``sys.path``."""
    for name, version in distributions.items():
        info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    patch.setattr(sys, "path", [str(folder)])


@pytest.mark.parametrize("distributions", [OPENMMLABS, FORKS], ids=["openmmlab", "onedl"])
def test_each_module_has_a_provider(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, distributions: dict[str, str]
) -> None:
    install(tmp_path, monkeypatch, distributions)
    found = [provider(module) for module in ("mmengine", "mmcv", "mmdet")]
    assert found == [Installed(name, version) for name, version in distributions.items()]


@pytest.mark.parametrize(
    ("distributions", "family"),
    [
        ({}, OPENMMLAB),
        (OPENMMLABS, OPENMMLAB),
        (FORKS, ONEDL),
        ({"onedl-mmengine": "0.10.12"}, ONEDL),
        ({"mmengine": "0.10.7", "onedl-mmcv": "2.3.6"}, OPENMMLAB),
    ],
)
def test_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, distributions: dict, family: object) -> None:
    install(tmp_path, monkeypatch, distributions)
    assert installed_family() is family


def test_modules_without_metadata_have_no_provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, {})
    assert provider("mmcv") is None


@pytest.mark.parametrize(
    ("distributions", "command"),
    [
        (OPENMMLABS, "pip uninstall -y mmcv-lite && pip install 'mmcv>=2.0.0,<2.2.0'"),
        ({"mmcv": "2.1.0"}, "pip uninstall -y mmcv && pip install 'mmcv>=2.0.0,<2.2.0'"),
        (FORKS, "pip install --no-build-isolation --no-cache-dir --no-deps --force-reinstall onedl-mmcv==2.3.6"),
    ],
    ids=["mmcv-lite", "mmcv", "onedl"],
)
def test_the_error_of_a_compiled_op_names_the_package_of_the_family(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, distributions: dict, command: str
) -> None:
    install(tmp_path, monkeypatch, distributions)
    with pytest.raises(NotImplementedError) as error:
        mmcv_ops._OpsStandIn("mmcv._ext").roi_align_forward()
    assert str(error.value).endswith(f": {command}") and "'roi_align_forward'" in str(error.value)


@pytest.mark.parametrize(
    ("distributions", "extra"), [({}, "runtime"), ({"mmengine": "0.10.7"}, "runtime"), (FORKS, "onedl")]
)
def test_the_error_of_a_missing_package_names_the_extra_of_the_family(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, distributions: dict, extra: str
) -> None:
    install(tmp_path, monkeypatch, distributions)
    monkeypatch.setattr(install_advice.importlib.util, "find_spec", lambda name: None if name == "torch" else True)
    with pytest.raises(MissingPackageError, match=rf"\[{extra}\]"):
        install_advice.require_runtime()


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(
    ("distributions", "name"), [(OPENMMLABS, "mmcv-lite"), ({"mmcv": "2.1.0"}, "mmcv"), (FORKS, "onedl-mmcv")]
)
def test_the_benchmark_names_the_installed_mmcv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, distributions: dict, name: str, compiled: bool
) -> None:
    install(tmp_path, monkeypatch, distributions)
    monkeypatch.setitem(sys.modules, "mmcv", SimpleNamespace(__version__="2.x"))
    ops = ModuleType("mmcv._ext") if compiled else mmcv_ops._OpsStandIn("mmcv._ext")
    monkeypatch.setitem(sys.modules, "mmcv._ext", ops)
    assert benchmark._mmcv() == ("compiled " if compiled else "") + f"{name} 2.x"


def test_package_paths_are_changed_only_where_pkg_resources_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """It depends on the code of MMEngine, not on its name or version."""
    uses, works = ModuleType("uses"), ModuleType("works")
    exec("def get_installed_path(package):\n    from pkg_resources import get_distribution", vars(uses))
    exec("def get_installed_path(package):\n    from importlib import metadata", vars(works))
    assert package_paths._imports_pkg_resources(uses)
    assert not package_paths._imports_pkg_resources(works)
    monkeypatch.setattr(package_paths.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(package_paths, "_imports_pkg_resources", lambda module: False)
    assert package_paths.close() == ""


def test_the_module_of_a_distribution_is_one_with_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The metadata of onedl-mmcv names its folder ``docs`` first, which is installed without code."""
    install(tmp_path, monkeypatch, FORKS)
    (tmp_path / "docs").mkdir()
    (tmp_path / "onedl_mmcv-2.3.6.dist-info" / "top_level.txt").write_text("docs\nmmcv\n")
    assert package_paths.package2module("onedl-mmcv") == "mmcv"


class _Evil:
    def __reduce__(self) -> tuple:
        return print, ("this code must not run",)


def test_the_forks_own_loader_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """The fork of MMEngine loads a file without ``weights_only`` if reading it with ``weights_only`` fails."""

    def unsafe(file: object, map_location: object = None, weights_only: bool | None = None) -> dict:
        return torch.load(file, map_location=map_location, weights_only=False)

    monkeypatch.setattr(mmengine_checkpoint, "_safe_torch_load", unsafe, raising=False)
    checkpoint_loaders.close()
    torch.save({"state_dict": {"x": torch.ones(2)}}, tmp_path / "good.pth")
    torch.save({"state_dict": {}, "meta": _Evil()}, tmp_path / "bad.pth")
    load = mmengine_checkpoint._safe_torch_load
    assert load(str(tmp_path / "good.pth"), map_location="cpu")["state_dict"]["x"].tolist() == [1.0, 1.0]
    with pytest.raises(CheckpointError, match="no code from it was run"):
        load(str(tmp_path / "bad.pth"), weights_only=False)
    assert "must not run" not in capsys.readouterr().out


def test_no_loader_is_added_to_mmengine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(mmengine_checkpoint, "_safe_torch_load", raising=False)
    checkpoint_loaders.close()
    assert not hasattr(mmengine_checkpoint, "_safe_torch_load")


def test_only_the_forks_message_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "prints_two_lines.py").write_text("print('Could not import OneDL. Skipping.')\nprint('other')\n")
    (tmp_path / "prints_and_fails.py").write_text("print('shown')\nraise ImportError('reason')\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("prints_two_lines", "prints_and_fails"):  # of an earlier run in this process
        monkeypatch.delitem(sys.modules, name, raising=False)
    fork_messages.import_without("Could not import OneDL", "prints_two_lines")
    with pytest.raises(ImportError, match="reason"):
        fork_messages.import_without("Could not import OneDL", "prints_and_fails")
    assert capsys.readouterr().out == "other\nshown\n"


@pytest.mark.parametrize("fork", [True, False])
@pytest.mark.parametrize("onedl", [True, False])
def test_messages_are_expected_of_the_fork_without_onedl(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fork: bool, onedl: bool
) -> None:
    (tmp_path / "datasets").mkdir()
    if fork:
        (tmp_path / "datasets" / "onedl.py").touch()
    mmdet = ModuleSpec("mmdet", None, is_package=True)
    mmdet.submodule_search_locations = [str(tmp_path)]
    specs = {"mmdet": mmdet, "onedl": ModuleSpec("onedl", None) if onedl else None}
    monkeypatch.setattr(fork_messages.importlib.util, "find_spec", specs.get)
    assert fork_messages._has_optional_datasets() is (fork and not onedl)
