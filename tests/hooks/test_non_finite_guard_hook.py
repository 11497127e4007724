"""A step that is not finite leaves nothing behind but its record."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from runs import ROOT, poisoned, runner, samples, weights

from gfl_plugin.hooks import NonFiniteGuardHook
from gfl_plugin.runtime.replay import replay
from gfl_plugin.runtime.step_record import NonFiniteError, StepRecord, non_finite

GUARD = dict(type="gfl_plugin.NonFiniteGuardHook")
EMA = dict(type="EMAHook")
AMP = dict(type="AmpOptimWrapper", dtype="bfloat16", optimizer=dict(type="SGD", lr=0.01, momentum=0.9))
CLIPPED = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.01, momentum=0.9), clip_grad=dict(max_norm=1.0))


class SpoilGradient(Hook):
    """Makes one gradient infinite in one step, where every loss is finite."""

    def __init__(self, step: int) -> None:
        self.step = step

    def before_train(self, runner) -> None:
        def spoil(gradient):
            return gradient * float("inf") if runner.iter == self.step else gradient

        runner.model.neck.fpn_convs[0].conv.weight.register_hook(spoil)


class SpoilWeight(Hook):
    """Makes a weight NaN, as an optimizer's overflow would."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        with torch.no_grad():
            runner.model.bbox_head.gfl_cls.bias[3] = float("nan")


def guard_of(run) -> NonFiniteGuardHook:
    return next(hook for hook in run.hooks if isinstance(hook, NonFiniteGuardHook))


def test_without_a_guard_a_single_nan_is_the_end(tmp_path: Path) -> None:
    run = runner(tmp_path, poisoned(samples(2), 0), [])
    run.train()
    assert non_finite(weights(run).items())


@pytest.mark.parametrize("wrapper", [None, AMP, CLIPPED], ids=["fp32", "bf16", "clipped"])
def test_a_skipped_step_never_happened(tmp_path: Path, wrapper: dict | None) -> None:
    """Weights, batch norm's statistics, momentum and moving average are those of a run without the batch."""
    settings = {} if wrapper is None else dict(optim_wrapper=wrapper)
    items = samples(4)
    run = runner(tmp_path / "bad", poisoned(items, 1), [GUARD, EMA], **settings)
    run.train()
    other = runner(tmp_path / "without", items[:2] + items[4:], [GUARD, EMA], **settings)
    other.train()
    for name, value in weights(other).items():
        assert torch.equal(weights(run)[name], value), name
    saved = torch.load(tmp_path / "bad" / "epoch_1.pth", weights_only=True)
    assert saved["optimizer"]["state"]
    assert not non_finite((name, value) for name, value in saved["state_dict"].items())
    assert not non_finite((name, value) for name, value in saved["ema_state_dict"].items())
    assert guard_of(run).skipped == 1
    assert run.message_hub.get_scalar("train/skipped_steps").current() == 1
    assert torch.isfinite(torch.tensor(run.message_hub.get_scalar("train/loss").data[0])).all()


def test_the_record_can_be_run_again(tmp_path: Path) -> None:
    run = runner(tmp_path, poisoned(samples(4), 2), [GUARD])
    run.train()
    (path,) = guard_of(run).records
    assert path == tmp_path / "non_finite" / "iter_3_rank_0.pth"
    record = StepRecord.load(path)
    assert record.iteration == 2
    assert record.inputs == ["inputs.0"]
    assert "loss_cls" in record.losses
    assert record.outputs[:2] == ["data_preprocessor", "backbone.conv1"]
    assert not non_finite(record.state_dict.items())
    outcome = replay(record)
    assert not outcome.finite
    assert outcome.outputs == record.outputs
    assert set(outcome.gradients) == set(record.gradients)
    command = [sys.executable, "-W", "ignore", ROOT / "tools" / "replay.py", path]
    told = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert told.returncode == 1, told.stderr
    assert "not finite; first: data_preprocessor" in told.stdout
    assert "in the batch, not finite: inputs.0" in told.stdout


def test_a_record_of_a_sound_step_is_sound(tmp_path: Path) -> None:
    """What the guard writes is the step: with its gradient no longer spoiled, it is finite and has the same losses."""
    losses = {}

    class Remember(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
            losses[runner.iter] = {name: float(value) for name, value in outputs.items()}

    run = runner(tmp_path, samples(3), [GUARD, SpoilGradient(1), Remember()])
    run.train()
    (path,) = guard_of(run).records
    record = StepRecord.load(path)
    assert record.losses == []
    assert "neck.fpn_convs.0.conv.weight" in record.gradients
    outcome = replay(record)
    assert outcome.finite
    for name, value in losses[1].items():
        if name.startswith("loss"):
            assert outcome.losses[name] == value, name


def test_stops_at_once_or_after_too_many(tmp_path: Path) -> None:
    run = runner(tmp_path / "stop", poisoned(samples(3), 1), [dict(GUARD, action="stop")])
    before = None

    class Before(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
            nonlocal before
            before = weights(runner)

    run.register_hook(Before())
    with pytest.raises(NonFiniteError, match=r"step 2 was not done: .*loss.* is not finite.*replay.py"):
        run.train()
    assert all(torch.equal(before[name], value) for name, value in weights(run).items())
    bad = poisoned(poisoned(poisoned(samples(5), 1), 2), 3)
    run = runner(tmp_path / "row", bad, [dict(GUARD, patience=3, max_records=1)])
    with pytest.raises(NonFiniteError, match="3 steps in a row"):
        run.train()
    assert len(list((tmp_path / "row" / "non_finite").iterdir())) == 1
    run = runner(tmp_path / "apart", poisoned(poisoned(samples(5), 1), 3), [dict(GUARD, patience=2)])
    run.train()
    assert guard_of(run).skipped == 2


@pytest.mark.parametrize("hooks", [[], [EMA]], ids=["plain", "ema"])
def test_no_checkpoint_with_a_nan(tmp_path: Path, hooks: list) -> None:
    run = runner(tmp_path, samples(1), [SpoilWeight(), GUARD, *hooks])
    with pytest.raises(NonFiniteError, match="no checkpoint is written: .*gfl_cls.bias"):
        run.train()
    assert not list(tmp_path.glob("*.pth"))


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="action is 'ignore'"):
        NonFiniteGuardHook(action="ignore")
    with pytest.raises(ValueError, match="patience is 0"):
        NonFiniteGuardHook(patience=0)
    other = tmp_path / "weights.pth"
    torch.save({"state_dict": {}}, other)
    with pytest.raises(ValueError, match="no record of a step"):
        StepRecord.load(other)
    command = [sys.executable, "-W", "ignore", ROOT / "tools" / "replay.py", other]
    told = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (told.returncode, told.stderr.count("\n")) == (2, 1), told.stderr
