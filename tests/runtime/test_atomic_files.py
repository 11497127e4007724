"""Files and folders that are there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from gfl_plugin.runtime.atomic_files import put_in_place, remove, remove_parts, write_whole


def folder(path: Path, content: str) -> Path:
    (path / "inner").mkdir(parents=True)
    (path / "inner" / "rank0.pt").write_text(content)
    return path


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_written_by_somebody_else_gets_its_name(tmp_path: Path, there: bool) -> None:
    """As DeepSpeed's checkpoints are; also over the one of the same step that a killed training has left."""
    whole = tmp_path / "epoch_1.pth"
    if there:
        folder(whole, "old")
    put_in_place(folder(tmp_path / ".epoch_1.pth.part", "new"), whole)
    assert (whole / "inner" / "rank0.pt").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["epoch_1.pth"]


def test_a_file_written_by_somebody_else_gets_its_name(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    (tmp_path / ".a.part").write_text("new")
    put_in_place(tmp_path / ".a.part", tmp_path / "a")
    assert (tmp_path / "a").read_text() == "new" and not (tmp_path / ".a.part").exists()


def test_what_killed_writers_left_goes(tmp_path: Path) -> None:
    folder(tmp_path / ".epoch_2.pth.part", "half")
    (tmp_path / ".epoch_1.pth.99.part").write_text("half")
    write_whole(tmp_path / "epoch_1.pth", "whole")
    assert len(remove_parts(tmp_path)) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["epoch_1.pth"]


def test_what_is_not_there_is_removed_without_a_word(tmp_path: Path) -> None:
    remove(tmp_path / "nothing")
