"""Files and folders appear complete or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from gfl_plugin.runtime.atomic_files import put_in_place, remove, remove_parts, write_whole


def folder(path: Path, content: str) -> Path:
    (path / "inner").mkdir(parents=True)
    (path / "inner" / "rank0.pt").write_text(content)
    return path


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_written_by_another_library_is_put_in_place(tmp_path: Path, there: bool) -> None:
    """DeepSpeed writes such folders. A folder of the same name, left by a killed training, is replaced."""
    whole = tmp_path / "epoch_1.pth"
    if there:
        folder(whole, "old")
    put_in_place(folder(tmp_path / ".epoch_1.pth.part", "new"), whole)
    assert (whole / "inner" / "rank0.pt").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["epoch_1.pth"]


def test_a_file_written_by_another_library_is_put_in_place(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    (tmp_path / ".a.part").write_text("new")
    put_in_place(tmp_path / ".a.part", tmp_path / "a")
    assert (tmp_path / "a").read_text() == "new" and not (tmp_path / ".a.part").exists()


def test_partial_files_of_killed_writers_are_removed(tmp_path: Path) -> None:
    folder(tmp_path / ".epoch_2.pth.part", "half")
    (tmp_path / ".epoch_1.pth.99.part").write_text("half")
    write_whole(tmp_path / "epoch_1.pth", "whole")
    assert len(remove_parts(tmp_path)) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["epoch_1.pth"]


def test_removing_a_missing_file_is_not_an_error(tmp_path: Path) -> None:
    remove(tmp_path / "nothing")
