"""Kernels on disk are found again and recompiled when necessary, and disk errors never stop a run."""

from __future__ import annotations

import errno
import importlib.util
import json
import logging
import os
import subprocess
import sys
import uuid
from pathlib import Path
from types import ModuleType

import pytest

numba = pytest.importorskip("numba")
caching = pytest.importorskip("numba.core.caching")

from gfl_plugin.ops import numba_kernel  # noqa: E402

SOURCE = """
from numba import njit
from gfl_plugin.ops.numba_kernel import kernel

FACTOR = {factor}

@njit
def _times(x):
    return x * FACTOR

@kernel(error_model="numpy")
def times(x):
    return _times(x)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for a package; its compiled kernels are stored in the neighboring folder ``cache``."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "package").mkdir()
    return tmp_path / "package"


def loaded(folder: Path, factor: int = 3) -> ModuleType:
    """The module with the kernel, loaded as in a new process."""
    path = folder / "kernels.py"
    if not path.exists() or path.read_text() != SOURCE.format(factor=factor):  # older Numba compares file times
        path.write_text(SOURCE.format(factor=factor))
    spec = importlib.util.spec_from_file_location(f"kernels_{uuid.uuid4().hex}", path)
    module = importlib.util.module_from_spec(spec)
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module


def hits(module: ModuleType) -> int:
    """Number of the kernel's signatures that were loaded from disk."""
    return sum(module.times.stats.cache_hits.values())


def files(folder: Path, pattern: str) -> list[Path]:
    return sorted((folder.parent / "cache").rglob(pattern))


def test_a_kernel_is_loaded_from_disk_the_second_time(folder: Path) -> None:
    first = loaded(folder)
    assert first.times(7) == 21 and hits(first) == 0
    second = loaded(folder)
    assert second.times(7) == 21 and hits(second) == 1


def test_a_changed_constant_causes_a_compilation(folder: Path) -> None:
    assert loaded(folder, factor=3).times(7) == 21
    changed = loaded(folder, factor=4)
    assert changed.times(7) == 28 and hits(changed) == 0


@pytest.mark.parametrize("pattern", ["*.nbi", "*.nbc"])
@pytest.mark.parametrize("content", [b"", b"garbage", None])
def test_a_damaged_file_is_replaced(
    folder: Path, pattern: str, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Empty, with other content, or truncated as after a power failure."""
    loaded(folder).times(7)
    (file,) = files(folder, pattern)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2] if content is None else content)
    with caplog.at_level(logging.WARNING):
        again = loaded(folder)
        assert again.times(7) == 21 and hits(again) == 0
    assert "compiled again" in caplog.text
    healed = loaded(folder)
    assert healed.times(7) == 21 and hits(healed) == 1


def test_an_entry_is_used_for_its_own_key_only(folder: Path) -> None:
    """An index that names the data of another signature is not used.

    Processes that save at the same time may leave such an index.
    """
    first = loaded(folder)
    assert (first.times(7), first.times(0.5)) == (21, 1.5)
    one, other = files(folder, "*.nbc")
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    mixed = loaded(folder)
    assert (mixed.times(7), mixed.times(0.5)) == (21, 1.5) and hits(mixed) == 0
    healed = loaded(folder)
    assert (healed.times(7), healed.times(0.5)) == (21, 1.5) and hits(healed) == 2


def test_a_full_disk_does_not_stop_a_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(caching.IndexDataCacheFile, "_save_data", full)
    with caplog.at_level(logging.WARNING):
        assert loaded(folder).times(7) == 21
    assert "No space left on device" in caplog.text and "NUMBA_CACHE_DIR" in caplog.text


@pytest.mark.parametrize("home", [True, False])
def test_folders_that_cannot_be_written(folder: Path, monkeypatch: pytest.MonkeyPatch, home: bool) -> None:
    """For a read-only package the user's cache folder is used; if it is read-only, too, each process compiles."""
    file = folder.parent / "file"
    file.touch()  # no folder can be created inside it, not even by root
    (folder / "__pycache__").touch()
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder.parent / "home" if home else file))
    assert loaded(folder).times(7) == 21
    again = loaded(folder)
    assert again.times(7) == 21 and hits(again) == int(home)


def test_with_numba_disabled_the_decorator_returns_the_function(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "DISABLE_JIT", True)
    module = loaded(folder)
    assert module.times(7) == 21 and not hasattr(module.times, "stats")


PROGRAM = """
import importlib.util, json, sys, types
for name in ("gfl_plugin", "gfl_plugin.ops"):  # without MMDetection, which takes seconds
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = []
def module(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]
module("gfl_plugin.ops.numba_kernel", sys.argv[1])
times = module("kernels", sys.argv[2]).times
values = [times(7), times(0.5)] if sys.argv[3] == "int" else [times(0.5), times(7)][::-1]
print(json.dumps([values, sum(times.stats.cache_hits.values())]))
"""


def process(folder: Path, order: str = "int", **environment: str) -> subprocess.Popen:
    """A process that calls the kernel with an integer and a float."""
    command = [sys.executable, "-c", PROGRAM, numba_kernel.__file__, str(folder / "kernels.py"), order]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder.parent / "cache"), **environment}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def result(running: subprocess.Popen) -> tuple[list[float], int]:
    """The process's values, and the number of kernels that were loaded from disk."""
    output, _ = running.communicate(timeout=120)
    assert running.returncode == 0
    values, count = json.loads(output)
    return values, count


def test_kernels_are_stored_per_cpu(folder: Path) -> None:
    (folder / "kernels.py").write_text(SOURCE.format(factor=3))
    other = dict(NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="")
    for environment, from_disk in (({}, 0), (other, 0), ({}, 2), (other, 2)):
        assert result(process(folder, **environment)) == ([21, 1.5], from_disk)


def test_processes_that_compile_at_the_same_time(folder: Path) -> None:
    (folder / "kernels.py").write_text(SOURCE.format(factor=3))
    running = [process(folder, order) for order in ("int", "float", "int", "float")]
    assert [result(one)[0] for one in running] == [[21, 1.5]] * 4
    result(process(folder))  # saves the entries that the last writer of the index did not have
    assert result(process(folder)) == ([21, 1.5], 2)


def test_a_change_of_another_source_causes_a_compilation(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    name = f"other_{uuid.uuid4().hex}"

    def used(factor: int) -> ModuleType:
        text = f"from numba import njit\n\n@njit\ndef helper(x):\n    return x * {factor}\n"
        (folder / f"{name}.py").write_text(text)
        sys.modules.pop(name, None)
        importlib.invalidate_caches()
        path = folder / "kernels.py"
        if not path.exists():
            path.write_text(
                f"import {name}\nfrom gfl_plugin.ops.numba_kernel import kernel\n\n"
                f"@kernel(sources=({name},))\ndef times(x):\n    return {name}.helper(x)\n"
            )
        spec = importlib.util.spec_from_file_location(f"kernels_{uuid.uuid4().hex}", path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        spec.loader.exec_module(module)
        return module

    assert used(3).times(7) == 21
    assert used(45).times(7) == 315
