"""A ramp follows the step of the training, also after resuming, and is at its end elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmengine.hooks import Hook
from mmengine.runner import ValLoop
from runs import runner, samples

from gfl_plugin.structures.ramp import Ramp, at_training_step, current_step

NUMBERS = st.floats(-10, 10)


@given(steps=st.integers(1, 10_000), start=NUMBERS, end=NUMBERS, part=st.floats(0, 1))
def test_it_is_the_line_between_its_ends(steps: int, start: float, end: float, part: float) -> None:
    ramp, step = Ramp(steps, start, end), int(part * steps)
    assert ramp.at(0) == start
    assert ramp.at(steps) == ramp.at(steps + 1) == ramp.at(None) == end
    with at_training_step(step):
        found = ramp.now()
    assert found == pytest.approx((start * (steps - step) + end * step) / steps, abs=1e-9)


def test_without_steps_it_is_at_its_end_from_the_first_step() -> None:
    with at_training_step(0):
        assert Ramp(0, 0.0, 2.0).now() == 2.0


def test_it_is_at_its_end_where_no_training_runs() -> None:
    with at_training_step(1):
        assert Ramp(4, 0.0, 2.0).now() == 0.5
    assert current_step() is None
    assert Ramp(4, 0.0, 2.0).now() == 2.0


@pytest.mark.parametrize("steps", [-1, 2.5, True, "3", None])
def test_wrong_steps(steps: object) -> None:
    with pytest.raises(ValueError, match="warmup is .*; it must be a whole number >= 0"):
        Ramp(steps, 0.0, 1.0)


@pytest.mark.parametrize("start", [float("nan"), float("inf"), "0"])
def test_wrong_start(start: object) -> None:
    with pytest.raises(ValueError, match="must be a finite number"):
        Ramp(3, start, 1.0)


class Values(Hook):
    """Records a ramp's value in each training step and each step of validation."""

    priority = "LOW"

    def __init__(self) -> None:
        self.ramp, self.trained, self.validated = Ramp(6, 0.0, 3.0), [], []

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        self.trained.append(self.ramp.now())

    def before_val_iter(self, runner, batch_idx, data_batch=None) -> None:
        self.validated.append(self.ramp.now())


def test_a_resumed_training_continues_the_ramp(tmp_path: Path) -> None:
    """Steps are those of the whole training. After its end, and in a new training of the process, no step is left."""
    whole, first, second = Values(), Values(), Values()
    runner(tmp_path / "whole", samples(4), [whole], epochs=2).train()
    assert current_step() is None
    assert whole.trained == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.0]
    runner(tmp_path / "parts", samples(4), [first], epochs=1).train()
    runner(tmp_path / "parts", samples(4), [second], epochs=2, resume=True).train()
    assert first.trained + second.trained == whole.trained


def test_validation_during_a_training_is_outside_of_the_ramp(tmp_path: Path) -> None:
    values = Values()
    loader = runner(tmp_path / "other", samples(1), []).train_dataloader
    settings = dict(val_dataloader=loader, val_cfg=dict(type=Quick), val_evaluator=[])
    runner(tmp_path, samples(2), [values], epochs=2, **settings).train()
    assert values.trained == [0.0, 0.5, 1.0, 1.5]
    assert values.validated and set(values.validated) == {3.0}


class Quick(ValLoop):
    """A validation without predictions."""

    def __init__(self, runner, dataloader, evaluator) -> None:
        super().__init__(runner, dataloader, [])

    def run(self) -> dict:
        self.runner.call_hook("before_val")
        self.runner.call_hook("before_val_epoch")
        self.runner.call_hook("before_val_iter", batch_idx=0, data_batch=None)
        self.runner.call_hook("after_val_epoch", metrics={})
        self.runner.call_hook("after_val")
        return {}
