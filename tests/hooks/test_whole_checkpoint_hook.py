"""A failed write leaves the previous checkpoint complete; tests/e2e also kills the process during a write."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import FlexibleRunner
from runs import runner, samples

import gfl_plugin.runtime.atomic_files
from gfl_plugin.hooks import WholeCheckpointHook

HOOK = dict(type="gfl_plugin.WholeCheckpointHook", interval=1)


class FullDisk:
    """Makes writing some checkpoints, by default the second, fail for lack of space."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, full: tuple[int, ...] = (2,)) -> None:
        self.plain, self.calls, self.full = os.fsync, 0, full
        monkeypatch.setattr(gfl_plugin.runtime.atomic_files.os, "fsync", self)

    def __call__(self, descriptor: int) -> None:
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        if ".pth." not in name:
            self.plain(descriptor)
            return
        self.calls += 1
        if self.calls in self.full:
            raise OSError(28, "No space left on device")
        self.plain(descriptor)


class Score(Hook):
    """Reports a better score after every epoch, without validation data."""

    def after_train_epoch(self, runner) -> None:
        for hook in runner.hooks:
            if type(hook).__name__ in ("CheckpointHook", "WholeCheckpointHook"):
                hook.after_val_epoch(runner, {"score": float(runner.epoch)})


@pytest.mark.parametrize("kept", ["last", "best"])
def test_the_previous_checkpoint_remains_until_the_new_one_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: str
) -> None:
    FullDisk(monkeypatch)
    if kept == "last":
        settings, hooks = dict(HOOK, max_keep_ckpts=1), []
    else:
        settings, hooks = dict(HOOK, interval=100, save_last=False, save_best="score", rule="greater"), [Score()]
    run = runner(tmp_path, samples(1), hooks, epochs=2, default_hooks=dict(checkpoint=dict(settings, max_failures=0)))
    with pytest.raises(OSError, match="No space left"):
        run.train()
    (left,) = tmp_path.glob("*.pth")
    assert left.name == {"last": "epoch_1.pth", "best": "best_score_epoch_0.pth"}[kept]
    assert torch.load(left, weights_only=True)["state_dict"]
    assert not list(tmp_path.glob(".*.part"))
    if kept == "last":
        assert (tmp_path / "last_checkpoint").read_text() == str(left)


def test_keeps_max_keep_ckpts_and_removes_partial_files(tmp_path: Path) -> None:
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


def warnings_of(run, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(run.logger, "warning", said.append)
    return said


@pytest.mark.parametrize("kind", ["Runner", "FlexibleRunner"])
def test_training_continues_when_a_checkpoint_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The previous checkpoint remains, and the next one is written at the next interval."""
    FullDisk(monkeypatch, full=(2, 3))
    settings = dict(checkpoint=dict(HOOK, max_keep_ckpts=1))
    there = []

    class Look(Hook):
        def before_train_epoch(self, runner) -> None:
            there.append([path.name for path in tmp_path.glob("*.pth")])

    flexible = FlexibleRunner if kind == "FlexibleRunner" else None
    if flexible:  # its strategies write files themselves
        settings["checkpoint"]["save_param_scheduler"] = False
    run = runner(tmp_path, samples(1), [Look()], epochs=5, kind=flexible, default_hooks=settings)
    said = warnings_of(run, monkeypatch)
    run.train()
    assert there == [[], ["epoch_1.pth"], ["epoch_1.pth"], ["epoch_1.pth"], ["epoch_4.pth"]]
    assert [text.split(";")[0] for text in said if "could not be written" in text] == [
        "a checkpoint could not be written (OSError: [Errno 28] No space left on device)"
    ] * 2
    assert [path.name for path in tmp_path.glob("*.pth")] == ["epoch_5.pth"]
    assert not list(tmp_path.glob(".*.part"))
    saved = torch.load(tmp_path / "epoch_5.pth", weights_only=True)["message_hub"]["runtime_info"]
    assert saved["keep_ckpt_ids"] == [5] and saved["last_ckpt"].endswith("epoch_5.pth")


def save_by_path(run, monkeypatch: pytest.MonkeyPatch, failing: Callable[[], None]) -> None:
    """Let a FlexibleRunner's strategy write checkpoints as DeepSpeed does, and call ``failing`` in the second."""
    plain, calls = run.strategy.save_checkpoint, []

    def save(filename: str, **settings: object) -> None:
        calls.append(filename)
        if len(calls) == 2:
            failing()
        plain(filename, **settings)

    monkeypatch.setattr(run.strategy, "save_checkpoint", save)


@pytest.mark.parametrize("kept", ["last", "best"])
def test_a_full_disk_of_a_strategy_that_calls_torch_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: str
) -> None:
    """Then torch.save raises a RuntimeError in place of an OSError; training continues all the same."""
    settings, hooks = dict(HOOK, save_param_scheduler=False), []
    if kept == "best":
        settings.update(interval=100, save_last=False, save_best="score", rule="greater")
        hooks = [Score()]
    run = runner(tmp_path, samples(1), hooks, epochs=3, kind=FlexibleRunner, default_hooks=dict(checkpoint=settings))
    size = {"last": 9, "best": 1_000_000}[kept]  # the message differs where the file fits into a buffer
    save_by_path(run, monkeypatch, lambda: torch.save(torch.zeros(size), "/dev/full"))
    said = warnings_of(run, monkeypatch)
    run.train()
    assert sum("could not be written (OSError: PyTorch could not write" in text for text in said) == 1
    left = {"last": ["epoch_1.pth", "epoch_3.pth"], "best": ["best_score_epoch_2.pth"]}[kept]
    assert sorted(path.name for path in tmp_path.glob("*.pth")) == left


def test_another_error_of_a_strategy_ends_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = dict(checkpoint=dict(HOOK, save_param_scheduler=False))
    run = runner(tmp_path, samples(1), [], epochs=3, kind=FlexibleRunner, default_hooks=settings)

    def fail() -> None:
        raise RuntimeError("no such parameter")

    save_by_path(run, monkeypatch, fail)
    with pytest.raises(RuntimeError, match="no such parameter"):
        run.train()


def test_ends_after_too_many_failures_in_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FullDisk(monkeypatch, full=(2, 4, 5, 6))  # a successful write resets the count
    run = runner(tmp_path, samples(1), [], epochs=9, default_hooks=dict(checkpoint=dict(HOOK, max_failures=2)))
    with pytest.raises(OSError, match="No space left"):
        run.train()
    assert run.epoch == 5
    assert sorted(path.name for path in tmp_path.glob("*.pth")) == ["epoch_1.pth", "epoch_3.pth"]
    assert (tmp_path / "last_checkpoint").read_text() == str(tmp_path / "epoch_3.pth")
    with pytest.raises(ValueError, match="max_failures is -1"):
        WholeCheckpointHook(interval=1, max_failures=-1)


@pytest.mark.parametrize("room_at_the_end", [True, False])
def test_the_last_checkpoint_is_written_again_when_training_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room_at_the_end: bool
) -> None:
    FullDisk(monkeypatch, full=(2,) if room_at_the_end else (2, 3))
    run = runner(tmp_path, samples(1), [], epochs=2, default_hooks=dict(checkpoint=dict(HOOK)))
    if room_at_the_end:
        run.train()
        saved = torch.load(tmp_path / "epoch_2.pth", weights_only=True)
        assert saved["meta"]["epoch"] == 2 and saved["meta"]["iter"] == 2
    else:
        with pytest.raises(OSError, match="No space left"):
            run.train()
        assert (tmp_path / "last_checkpoint").read_text() == str(tmp_path / "epoch_1.pth")


def test_a_failed_best_checkpoint_does_not_change_the_best_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FullDisk(monkeypatch, full=(2,))
    settings = dict(HOOK, interval=100, save_last=False, save_best="score", rule="greater")
    run = runner(tmp_path, samples(1), [Score()], epochs=2, default_hooks=dict(checkpoint=settings))
    run.train()
    assert [path.name for path in tmp_path.glob("*.pth")] == ["best_score_epoch_0.pth"]
    assert run.message_hub.get_info("best_score") == 0.0
    assert run.message_hub.get_info("best_ckpt").endswith("best_score_epoch_0.pth")


def test_a_training_that_may_overwrite_other_checkpoints_gives_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks = dict(checkpoint=dict(HOOK))
    for number, settings in enumerate((dict(), dict(), dict(resume=True))):
        run = runner(tmp_path, samples(1), [], epochs=number + 1, default_hooks=hooks, **settings)
        said = warnings_of(run, monkeypatch)
        run.train()
        assert sum("which this training may overwrite" in text for text in said) == (number == 1)


def test_resumes_from_its_own_checkpoints(tmp_path: Path) -> None:
    hooks = dict(checkpoint=dict(HOOK, max_keep_ckpts=1))
    runner(tmp_path, samples(1), [], epochs=1, default_hooks=hooks).train()
    run = runner(tmp_path, samples(1), [], epochs=3, default_hooks=hooks, resume=True)
    run.train()
    assert [path.name for path in tmp_path.glob("epoch_*.pth")] == ["epoch_3.pth"]
