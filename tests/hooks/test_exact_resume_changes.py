"""After changes that make an exact resume impossible, a run resumes as without the hook, with one warning."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gfl_plugin  # noqa: F401  # isort: skip  (must precede mmdet without compiled ops)
import pytest
import torch
from hooks.recorded_training import (
    EPOCHS,
    KEY,
    STEPS,
    Samples,
    Training,
    assert_as_without_hook,
    batches,
    in_order,
    plain_batches,
    same,
)
from mmdet.datasets.samplers import (
    AspectRatioBatchSampler,
)
from mmengine.dataset import DefaultSampler
from torch.utils.data import BatchSampler, DataLoader


def edited(checkpoint: Path, change: Callable[[dict], Any]) -> Path:
    """A copy of a checkpoint with changes in the content stored by the hook."""
    content = torch.load(checkpoint, weights_only=False)
    change(content[KEY])
    path = checkpoint.with_name(f"edited_{checkpoint.name}")
    torch.save(content, path)
    return path


@pytest.mark.parametrize("stop", [2, 3, 4])
@pytest.mark.parametrize("loop", [EPOCHS, STEPS])
@pytest.mark.parametrize("size", [2, 8])
def test_other_batch_size(tmp_path: Path, size: int, loop: str, stop: int) -> None:
    length = 3 if loop == EPOCHS else 12
    whole = Training(tmp_path / "whole", plain_batches(4), loop, length)
    reason = f"the batch size was 4 and is {size}"
    assert_as_without_hook(tmp_path, lambda: plain_batches(size), loop, length, whole.checkpoint(stop), reason)


def test_other_batch_size_by_shape(tmp_path: Path) -> None:
    def loader(size: int) -> DataLoader:
        data = Samples()
        return batches(data, AspectRatioBatchSampler(DefaultSampler(data, seed=0), size, True))

    for loop, length in ((EPOCHS, 3), (STEPS, 12)):
        whole = Training(tmp_path / loop / "whole", loader(4), loop, length)
        reason = "the batch size was 4 and is 5"
        assert_as_without_hook(tmp_path / loop, lambda: loader(5), loop, length, whole.checkpoint(4), reason)


@pytest.mark.parametrize("loop", [EPOCHS, STEPS])
def test_exact_again_after_an_inexact_resume(tmp_path: Path, loop: str) -> None:
    """Checkpoints written after an inexact resume can be resumed exactly."""
    length = 3 if loop == EPOCHS else 12
    first = Training(tmp_path / "first", plain_batches(4), loop, length)
    second = Training(tmp_path / "second", plain_batches(2), loop, length, first.checkpoint(4))
    assert second.log.inexact()
    for later in (1, 2, 3):  # batches after the inexact resume
        third = Training(tmp_path / f"third_{later}", plain_batches(2), loop, length, second.checkpoint(4 + later))
        same(second, third, later)


@pytest.mark.parametrize("loop", [EPOCHS, STEPS])
def test_samples_added(tmp_path: Path, loop: str) -> None:
    length = 3 if loop == EPOCHS else 12
    whole = Training(tmp_path / "whole", plain_batches(), loop, length)
    loader, reason = (lambda: plain_batches(count=15)), "the number of samples was 12 and is 15"
    assert_as_without_hook(tmp_path, loader, loop, length, whole.checkpoint(4), reason)


@pytest.mark.parametrize("loop", [EPOCHS, STEPS])
def test_other_number_of_processes(tmp_path: Path, loop: str) -> None:
    """The checkpoint is edited as if two processes had written it, which have half as many batches per epoch."""
    length = 3 if loop == EPOCHS else 12
    whole = Training(tmp_path / "whole", plain_batches(), loop, length)
    checkpoint = edited(whole.checkpoint(5), lambda stored: stored.get("layout", {}).update(processes=2))
    reason = "the number of processes was 2 and is 1"
    assert_as_without_hook(tmp_path, plain_batches, loop, length, checkpoint, reason)


def test_a_checkpoint_between_accumulated_batches(tmp_path: Path) -> None:
    settings = dict(optim_wrapper=dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.01), accumulative_counts=4))
    whole = Training(tmp_path / "whole", plain_batches(), optim_wrapper=dict(settings["optim_wrapper"]))
    reason = "the gradients accumulated over the last 1 batches"
    assert_as_without_hook(tmp_path, plain_batches, EPOCHS, 3, whole.checkpoint(5), reason, **settings)


def test_other_accumulative_counts(tmp_path: Path) -> None:
    whole = Training(tmp_path / "whole", plain_batches())
    settings = dict(optim_wrapper=dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.01), accumulative_counts=2))
    reason = "accumulative_counts was 1 and is 2"
    assert_as_without_hook(tmp_path, plain_batches, EPOCHS, 3, whole.checkpoint(4), reason, **settings)


def test_other_sampler_and_settings(tmp_path: Path) -> None:
    whole = Training(tmp_path / "whole", plain_batches())
    sampler = "the sampler was DefaultSampler and is SequentialSampler"
    assert_as_without_hook(tmp_path / "type", in_order, EPOCHS, 3, whole.checkpoint(4), sampler)
    without_seed = Training(tmp_path / "unseeded", in_order()).checkpoint(4)
    sampler = "the sampler was SequentialSampler and is DefaultSampler"
    assert_as_without_hook(tmp_path / "back", plain_batches, EPOCHS, 3, without_seed, sampler)
    data = Samples()
    unshuffled = BatchSampler(DefaultSampler(data, shuffle=False, seed=0), 4, True)
    resumed = Training(tmp_path / "settings", batches(data, unshuffled), resume=whole.checkpoint(4))
    (line,) = resumed.log.inexact()
    assert "shuffle of the sampler was True and is False" in line
    assert "drop_last of the batch sampler was False and is True" in line


def test_other_loop(tmp_path: Path) -> None:
    whole = Training(tmp_path / "whole", plain_batches())
    resumed = Training(tmp_path / "resumed", plain_batches(), STEPS, 9, whole.checkpoint(4))
    assert len(resumed.seen) == 5
    assert "the train loop was EpochBasedTrainLoop and is IterBasedTrainLoop" in resumed.log.inexact()[0]


@pytest.mark.parametrize("loop", [EPOCHS, STEPS])
@pytest.mark.parametrize("written", ["by an older version", "without the hook"])
def test_checkpoints_without_a_position(tmp_path: Path, loop: str, written: str) -> None:
    length = 3 if loop == EPOCHS else 9
    older = written == "by an older version"
    checkpoint = Training(tmp_path / "whole", plain_batches(), loop, length, hook=older).checkpoint(5)
    if older:

        def keep_seeds(stored: dict) -> None:
            stored.update({key: stored[key] for key in ("seed", "sampler_seed")})
            for key in set(stored) - {"seed", "sampler_seed"}:
                del stored[key]

        checkpoint = edited(checkpoint, keep_seeds)
    reason = "older version of ExactResumeHook" if older else "written without ExactResumeHook"
    assert_as_without_hook(tmp_path, plain_batches, loop, length, checkpoint, reason)


def test_a_position_in_another_epoch(tmp_path: Path) -> None:
    """The stored position is in another epoch than the checkpoint's counters."""
    whole = Training(tmp_path / "whole", plain_batches())
    checkpoint = edited(whole.checkpoint(4), lambda stored: stored.get("position", {}).update(epoch=0))
    assert_as_without_hook(tmp_path, plain_batches, EPOCHS, 3, checkpoint, "its position in the data is in epoch 1")
