"""A skipped non-finite step has no effect except for its record."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cases import lines_of_errors
from mmengine.config import Config
from mmengine.hooks import Hook
from runs import ROOT, model_config, poisoned, runner, samples, weights

from gfl_plugin.hooks import NonFiniteGuardHook
from gfl_plugin.runtime import config_text
from gfl_plugin.runtime.errors import CheckpointError
from gfl_plugin.runtime.non_finite import NonFiniteError, non_finite
from gfl_plugin.runtime.replay import replay
from gfl_plugin.runtime.step_record import StepRecord

GUARD = dict(type="gfl_plugin.NonFiniteGuardHook")
EMA = dict(type="EMAHook")
AMP = dict(type="AmpOptimWrapper", dtype="bfloat16", optimizer=dict(type="SGD", lr=0.01, momentum=0.9))
CLIPPED = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.01, momentum=0.9), clip_grad=dict(max_norm=1.0))


class SpoilGradient(Hook):
    """Makes one gradient infinite in one step in which every loss is finite."""

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


def test_without_the_guard_a_single_nan_makes_weights_non_finite(tmp_path: Path) -> None:
    run = runner(tmp_path, poisoned(samples(2), 0), [])
    run.train()
    assert non_finite(weights(run).items())


@pytest.mark.parametrize("wrapper", [None, AMP, CLIPPED], ids=["fp32", "bf16", "clipped"])
def test_a_skipped_step_has_no_effect(tmp_path: Path, wrapper: dict | None) -> None:
    """Weights, batch norm statistics, momentum and moving average equal those of a run without the batch."""
    settings = {} if wrapper is None else dict(optim_wrapper=wrapper)
    items = samples(4)
    run = runner(tmp_path / "bad", poisoned(items, 1), [GUARD, EMA], **settings)
    run.train()
    other = runner(tmp_path / "without", items[:2] + items[4:], [GUARD, EMA], **settings)
    other.train()
    for name, value in weights(other).items():
        assert torch.equal(weights(run)[name], value), name
    saved = torch.load(tmp_path / "bad" / "epoch_1.pth", weights_only=True)
    as_without = torch.load(tmp_path / "without" / "epoch_1.pth", weights_only=True)
    for part in ("state_dict", "ema_state_dict"):
        for name, value in as_without[part].items():
            assert torch.equal(saved[part][name], value), (part, name)
    assert saved["optimizer"]["state"]
    assert not non_finite((name, value) for name, value in saved["state_dict"].items())
    assert not non_finite((name, value) for name, value in saved["ema_state_dict"].items())
    assert guard_of(run).skipped == 1
    assert run.message_hub.get_scalar("train/skipped_steps").current() == 1
    assert torch.isfinite(torch.tensor(run.message_hub.get_scalar("train/loss").data[0])).all()


def test_the_record_can_be_replayed(tmp_path: Path) -> None:
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
    outcome = replay(record, config_text.parse(record.config))
    assert not outcome.finite
    assert outcome.outputs == record.outputs
    assert set(outcome.gradients) == set(record.gradients)
    command = [sys.executable, "-W", "ignore", ROOT / "tools" / "replay.py", path, "--trust"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert told.returncode == 1, told.stderr
    assert "not finite; first: data_preprocessor" in told.stdout
    assert "in the batch, not finite: inputs.0" in told.stdout


@pytest.mark.parametrize("warmup", [0, 2])
def test_the_record_reproduces_the_losses_of_the_step(tmp_path: Path, warmup: int) -> None:
    """Replayed without the hook that made a gradient infinite, the step is finite and has the same losses.

    They are also those of its place in a warm-up of quality targets and of QFL's exponent.
    """
    losses = {}
    model = model_config()
    model["bbox_head"]["quality"] = dict(type="JointQuality", warmup=warmup)
    model["bbox_head"]["loss_cls"] = dict(type="QualityFocalLoss", warmup=warmup)
    settings = dict(model=model, cfg=Config(dict(model=model, default_scope="mmdet")))

    class Remember(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
            losses[runner.iter] = {name: float(value) for name, value in outputs.items()}

    run = runner(tmp_path, samples(3), [GUARD, SpoilGradient(1), Remember()], **settings)
    run.train()
    (path,) = guard_of(run).records
    record = StepRecord.load(path)
    assert record.losses == []
    assert "neck.fpn_convs.0.conv.weight" in record.gradients
    outcome = replay(record, config_text.parse(record.config))
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
    with pytest.raises(NonFiniteError, match=r"skipped optimizer step 2: non-finite losses in .*loss.*plugin replay"):
        run.train()
    assert all(torch.equal(before[name], value) for name, value in weights(run).items())
    bad = poisoned(poisoned(poisoned(samples(5), 1), 2), 3)
    run = runner(tmp_path / "row", bad, [dict(GUARD, patience=3, max_records=1)])
    with pytest.raises(NonFiniteError, match="3 consecutive steps"):
        run.train()
    assert len(list((tmp_path / "row" / "non_finite").iterdir())) == 1
    run = runner(tmp_path / "apart", poisoned(poisoned(samples(5), 1), 3), [dict(GUARD, patience=2)])
    run.train()
    assert guard_of(run).skipped == 2


@pytest.mark.parametrize("hooks", [[], [EMA]], ids=["plain", "ema"])
def test_no_checkpoint_with_a_nan(tmp_path: Path, hooks: list) -> None:
    run = runner(tmp_path, samples(1), [SpoilWeight(), GUARD, *hooks])
    with pytest.raises(NonFiniteError, match="no checkpoint is written: non-finite values in .*gfl_cls.bias"):
        run.train()
    assert not list(tmp_path.glob("*.pth"))


# ---------------------------------------------------------------------------------------------------
# Accumulated gradients
# ---------------------------------------------------------------------------------------------------

TWO = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.01, momentum=0.9), accumulative_counts=2)


@pytest.mark.parametrize("bad", [0, 1], ids=["first of two", "second of two"])
@pytest.mark.parametrize("update_buffers", [False, True])
def test_a_skipped_step_of_several_batches_has_no_effect(tmp_path: Path, bad: int, update_buffers: bool) -> None:
    """Weights, batch norm statistics and moving averages equal those of a run without both batches."""
    ema, items = dict(EMA, update_buffers=update_buffers), samples(6)
    run = runner(tmp_path / "bad", poisoned(items, 2 + bad), [GUARD, ema], optim_wrapper=TWO)
    run.train()
    assert guard_of(run).skipped == 1
    runner(tmp_path / "without", items[:4] + items[8:], [GUARD, ema], optim_wrapper=TWO).train()
    saved, as_without = (torch.load(tmp_path / name / "epoch_1.pth", weights_only=True) for name in ("bad", "without"))
    for part in ("state_dict", "ema_state_dict"):
        for name, value in as_without[part].items():
            assert torch.equal(saved[part][name], value), (part, name)
    assert torch.isfinite(torch.tensor(run.message_hub.get_scalar("train/loss").data[0])).all()


@pytest.mark.parametrize("bad", [0, 1])
def test_the_record_holds_the_batch_that_was_bad(tmp_path: Path, bad: int) -> None:
    run = runner(tmp_path, poisoned(samples(6), 2 + bad), [GUARD], optim_wrapper=TWO)
    run.train()
    (path,) = guard_of(run).records
    record = StepRecord.load(path)
    assert record.iteration == 2 + bad
    assert record.inputs == ["inputs.0"]
    assert not non_finite(record.state_dict.items())
    outcome = replay(record, config_text.parse(record.config))
    assert outcome.outputs == record.outputs and outcome.outputs[0] == "data_preprocessor"


class Spoiled(Hook):
    """Makes the gradient of one batch infinite whenever it is computed; every loss is finite."""

    def before_train(self, runner) -> None:
        weight, image = runner.model.neck.fpn_convs[0].conv.weight, {}
        runner.model.data_preprocessor.register_forward_hook(
            lambda module, inputs, output: image.update(seen=output["data_samples"][0].img_id)
        )
        weight.register_hook(lambda gradient: gradient * float("inf") if image["seen"] == 4 else gradient)


def test_the_batch_whose_gradient_was_bad_is_found_among_several(tmp_path: Path) -> None:
    run = runner(tmp_path, samples(6), [GUARD, Spoiled()], optim_wrapper=TWO)
    run.train()
    (path,) = guard_of(run).records
    record = StepRecord.load(path)
    assert record.losses == [] and "neck.fpn_convs.0.conv.weight" in record.gradients
    assert record.iteration == 2
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in run.model.parameters())


@pytest.mark.parametrize("hooks", [[], [EMA], [dict(EMA, update_buffers=True)]], ids=["plain", "ema", "ema of buffers"])
def test_a_checkpoint_within_a_bad_step_is_finite_and_can_be_resumed(tmp_path: Path, hooks: list) -> None:
    """The checkpoint is written after the first, bad, of two batches, before the step is skipped."""
    hooks = [dict(type="gfl_plugin.ExactResumeHook"), GUARD, *hooks]
    checkpoint = dict(checkpoint=dict(type="CheckpointHook", interval=1, by_epoch=False))
    items = poisoned(samples(4), 2)
    run = runner(tmp_path, items, hooks, optim_wrapper=TWO, default_hooks=checkpoint)
    run.train()
    for step in (2, 3, 4):
        saved = torch.load(tmp_path / f"iter_{step}.pth", weights_only=True)
        for part in ("state_dict", "ema_state_dict"):
            assert not non_finite(saved.get(part, {}).items()), (step, part)
    again = runner(tmp_path, items, hooks, optim_wrapper=TWO, load_from=str(tmp_path / "iter_2.pth"), resume=True)
    again.train()
    for name, value in weights(run).items():
        assert torch.equal(weights(again)[name], value), name


# ---------------------------------------------------------------------------------------------------
# Records that cannot be written, and buffers that are infinite on purpose
# ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["no room", "file in the folder's place", "unknown batch"])
def test_a_failed_record_does_not_stop_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    run = runner(tmp_path, poisoned(samples(3), 1), [GUARD])
    said = []
    monkeypatch.setattr(run.logger, "warning", said.append)
    if kind == "file in the folder's place":
        (tmp_path / "non_finite").write_text("")
    elif kind == "no room":
        plain = os.replace

        def no_room(source, target) -> None:
            if "non_finite" in str(target):
                raise OSError(28, "No space left on device")
            plain(source, target)

        monkeypatch.setattr(os, "replace", no_room)
    else:
        monkeypatch.setattr("gfl_plugin.hooks.non_finite_recorder.plain_batch", lambda batch: batch["nothing"])
    run.train()
    assert run.iter == 3 and guard_of(run).skipped == 1 and not guard_of(run).records
    assert any("no record, it could not be written" in text for text in said)
    folder = tmp_path / "non_finite"
    assert not folder.is_dir() or not list(folder.iterdir())


class Mask(Hook):
    """Adds a buffer with infinite numbers, and can change one of its numbers during training."""

    def __init__(self, later: bool = False, becomes: float | None = None) -> None:
        self.later, self.becomes = later, becomes

    def before_run(self, runner) -> None:
        mask = torch.zeros(4, 4).masked_fill(torch.ones(4, 4).triu(1).bool(), float("-inf"))
        runner.model.neck.register_buffer("mask", mask)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if self.becomes is not None:
            runner.model.neck.mask[2, 3 if self.later else 1] = self.becomes


@pytest.mark.parametrize("hooks", [[], [EMA]], ids=["plain", "ema"])
def test_a_buffer_that_is_infinite_from_the_start_is_ignored(tmp_path: Path, hooks: list) -> None:
    runner(tmp_path, poisoned(samples(3), 1), [Mask(), GUARD, *hooks]).train()
    saved = torch.load(tmp_path / "epoch_1.pth", weights_only=True)
    assert saved["state_dict"]["neck.mask"].isinf().sum() == 6


@pytest.mark.parametrize("later", [False, True], ids=["was finite", "was infinite and is NaN"])
def test_a_number_of_this_buffer_that_becomes_nan_is_an_error(tmp_path: Path, later: bool) -> None:
    with pytest.raises(NonFiniteError, match="no checkpoint is written.*neck.mask"):
        runner(tmp_path, samples(1), [Mask(later, float("nan")), GUARD]).train()


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="action is 'ignore'"):
        NonFiniteGuardHook(action="ignore")
    with pytest.raises(ValueError, match="patience is 0"):
        NonFiniteGuardHook(patience=0)
    other = tmp_path / "weights.pth"
    torch.save({"state_dict": {}}, other)
    with pytest.raises(CheckpointError, match="not a step record"):
        StepRecord.load(other)
    command = [sys.executable, "-W", "ignore", ROOT / "tools" / "replay.py", other]
    told = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (told.returncode, len(lines_of_errors(told.stderr))) == (2, 1), told.stderr
