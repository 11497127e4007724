"""Whatever goes wrong while a checkpoint is written, a whole one is there; tests/e2e kills the process for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from runs import runner, samples

import gfl_plugin.runtime.atomic_files

HOOK = dict(type="gfl_plugin.WholeCheckpointHook", interval=1)


class FullDisk:
    """The second checkpoint finds no room."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.plain, self.calls = os.fsync, 0
        monkeypatch.setattr(gfl_plugin.runtime.atomic_files.os, "fsync", self)

    def __call__(self, descriptor: int) -> None:
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        self.calls += ".pth." in name
        if self.calls == 2:
            raise OSError(28, "No space left on device")
        self.plain(descriptor)


class Score(Hook):
    """Validates without a data set: every epoch is the best."""

    def after_train_epoch(self, runner) -> None:
        for hook in runner.hooks:
            if type(hook).__name__ in ("CheckpointHook", "WholeCheckpointHook"):
                hook.after_val_epoch(runner, {"score": float(runner.epoch)})


@pytest.mark.parametrize("kept", ["last", "best"])
def test_the_old_one_stands_until_the_new_one_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: str
) -> None:
    FullDisk(monkeypatch)
    if kept == "last":
        settings, hooks = dict(HOOK, max_keep_ckpts=1), []
    else:
        settings, hooks = dict(HOOK, interval=100, save_last=False, save_best="score", rule="greater"), [Score()]
    run = runner(tmp_path, samples(1), hooks, epochs=2, default_hooks=dict(checkpoint=settings))
    with pytest.raises(OSError, match="No space left"):
        run.train()
    (left,) = tmp_path.glob("*.pth")
    assert left.name == {"last": "epoch_1.pth", "best": "best_score_epoch_0.pth"}[kept]
    assert torch.load(left, weights_only=True)["state_dict"]
    assert not list(tmp_path.glob(".*.part"))
    if kept == "last":
        assert (tmp_path / "last_checkpoint").read_text() == str(left)


def test_keeps_as_many_as_told_and_clears_what_was_left(tmp_path: Path) -> None:
    (tmp_path / ".epoch_9.pth.123.part").write_bytes(b"half")
    settings = dict(HOOK, max_keep_ckpts=2, save_best="score", rule="greater")
    run = runner(tmp_path, samples(1), [Score()], epochs=4, default_hooks=dict(checkpoint=settings))
    run.train()
    assert sorted(path.name for path in tmp_path.glob("epoch_*.pth")) == ["epoch_3.pth", "epoch_4.pth"]
    assert len(list(tmp_path.glob("best_score_*.pth"))) == 1
    assert (tmp_path / "last_checkpoint").read_text() == str(tmp_path / "epoch_4.pth")
    assert not list(tmp_path.glob(".*.part"))
    saved = torch.load(tmp_path / "epoch_4.pth", weights_only=True)
    assert saved["message_hub"]["runtime_info"]["keep_ckpt_ids"] == [3, 4]


def test_goes_on_from_what_it_saved(tmp_path: Path) -> None:
    hooks = dict(checkpoint=dict(HOOK, max_keep_ckpts=1))
    runner(tmp_path, samples(1), [], epochs=1, default_hooks=hooks).train()
    run = runner(tmp_path, samples(1), [], epochs=3, default_hooks=hooks, resume=True)
    run.train()
    assert [path.name for path in tmp_path.glob("epoch_*.pth")] == ["epoch_3.pth"]
