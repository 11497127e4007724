"""``--resume`` continues from the newest complete checkpoint and reports it; it never overwrites checkpoints."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from runs import runner, samples

from gfl_plugin.runtime.errors import CheckpointError

WHOLE = dict(checkpoint=dict(type="gfl_plugin.WholeCheckpointHook", interval=1))
STOCK = dict(checkpoint=dict(type="CheckpointHook", interval=1))


@pytest.fixture(params=[WHOLE, STOCK], ids=["WholeCheckpointHook", "CheckpointHook"])
def trained(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict]:
    """A folder with the checkpoints of three epochs, and the hooks that wrote them."""
    runner(tmp_path, samples(1), [], epochs=3, default_hooks=request.param).train()
    return tmp_path, request.param


def resumed(folder: Path, hooks: dict, monkeypatch: pytest.MonkeyPatch) -> tuple[int, list[str]]:
    """The first epoch of a resumed training, and its messages about checkpoints."""
    said: list[str] = []
    monkeypatch.setattr(
        "gfl_plugin.runtime.compat.resume.print_log", lambda text, **settings: said.append(text), raising=False
    )
    run = runner(folder, samples(1), [], epochs=4, default_hooks=hooks, resume=True)
    first: list[int] = []
    begin = run.call_hook
    monkeypatch.setattr(
        run,
        "call_hook",
        lambda name, **kwargs: (
            (first.append(run.epoch) if name == "before_train_epoch" else None) or begin(name, **kwargs)
        ),
    )
    run.train()
    return first[0], said


def truncate(path: Path) -> None:
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size // 2)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_an_undamaged_last_checkpoint_is_used(trained: tuple[Path, dict], monkeypatch: pytest.MonkeyPatch) -> None:
    assert resumed(*trained, monkeypatch) == (3, [])


@pytest.mark.parametrize("damage", [truncate, flip, Path.unlink, lambda path: path.write_bytes(b"")])
def test_the_newest_complete_one_is_used(trained: tuple[Path, dict], monkeypatch: pytest.MonkeyPatch, damage) -> None:
    folder, hooks = trained
    damage(folder / "epoch_3.pth")
    epoch, (said,) = resumed(folder, hooks, monkeypatch)
    assert epoch == 2
    assert f"resuming from {folder / 'epoch_2.pth'}, the newest complete checkpoint" in said
    assert "last_checkpoint names epoch_3.pth" in said and "\n" not in said


@pytest.mark.parametrize("left", [None, b"", b"\xff\xfe"])
def test_without_last_checkpoint_nothing_is_overwritten(
    trained: tuple[Path, dict], monkeypatch: pytest.MonkeyPatch, left: bytes | None
) -> None:
    """The newest checkpoint is found by its content; file times change when files are copied."""
    folder, hooks = trained
    (folder / "last_checkpoint").unlink()
    if left is not None:
        (folder / "last_checkpoint").write_bytes(left)
    for age, name in enumerate(("epoch_3.pth", "epoch_2.pth", "epoch_1.pth")):
        os.utime(folder / name, (1e9 + age, 1e9 + age))
    before = {path.name: path.read_bytes() for path in folder.glob("*.pth")}
    epoch, (said,) = resumed(folder, hooks, monkeypatch)
    assert epoch == 3 and "last_checkpoint" in said
    assert {path.name: path.read_bytes() for path in folder.glob("*.pth") if path.name != "epoch_4.pth"} == before


def test_a_folder_that_was_moved(trained: tuple[Path, dict], tmp_path_factory, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, hooks = trained
    moved = tmp_path_factory.mktemp("moved") / "run"
    shutil.move(folder, moved)
    assert resumed(moved, hooks, monkeypatch) == (3, [])


def test_files_with_weights_only_are_ignored(trained: tuple[Path, dict], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, hooks = trained
    (folder / "last_checkpoint").unlink()
    torch.save({"w": torch.zeros(1)}, folder / "zz_pretrained.pth")
    torch.save({**torch.load(folder / "epoch_3.pth"), "meta": {"time": "99999999"}}, folder / "best_score_epoch_9.pth")
    assert resumed(folder, hooks, monkeypatch)[0] == 3


def test_only_damaged_checkpoints_are_an_error_and_an_empty_folder_starts_a_training(
    trained: tuple[Path, dict], tmp_path_factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, hooks = trained
    for path in folder.glob("*.pth"):
        truncate(path)
    before = {path: path.read_bytes() for path in folder.glob("*.pth")}
    with pytest.raises(CheckpointError, match="there is no complete checkpoint to resume from: .*epoch_1.pth") as error:
        resumed(folder, hooks, monkeypatch)
    assert "\n" not in str(error.value)
    assert {path: path.read_bytes() for path in folder.glob("*.pth")} == before
    assert resumed(tmp_path_factory.mktemp("new"), hooks, monkeypatch) == (0, [])
