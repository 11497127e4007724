"""A resumed training has the batches and random numbers of an uninterrupted one."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gfl_plugin  # noqa: F401  # isort: skip  (must precede mmdet without compiled ops)
import numpy as np
import pytest
import torch
from hooks.recorded_training import (
    EPOCHS,
    STEPS,
    Recorder,
    Samples,
    Training,
    assert_as_without_hook,
    by_class,
    by_shape,
    endless,
    in_order,
    plain_batches,
    ratio_of_sources,
    same,
    two_sources,
    videos,
)
from mmengine.dist import get_rank, init_dist
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import nn
from torch.utils.data import DataLoader

# Data loaders of 12 or 13 samples. An epoch has at most 3 batches, so steps 4 and 7 are in later epochs.
LOADERS: dict[str, Callable[[], DataLoader]] = {
    "default": lambda: plain_batches(seed=None),
    "default, 2 workers": lambda: plain_batches(workers=2, seed=None),
    "incomplete last batch": lambda: plain_batches(5, seed=None),
    "by shape": lambda: by_shape(drop_last=False),
    "by shape, drop_last": lambda: by_shape(drop_last=True),
    "by shape, drop_last, 2 workers": lambda: by_shape(drop_last=True, workers=2),
    "by class": by_class,
    "ratio of sources": lambda: ratio_of_sources(shape=False),
    "ratio of sources, by shape": lambda: ratio_of_sources(shape=True),
    "images of videos": lambda: videos(shape=False),
    "images of videos, by shape": lambda: videos(shape=True),
    "in order": in_order,
}
ENDLESS: dict[str, Callable[[], DataLoader]] = {
    "endless": endless,
    "endless, 2 workers": lambda: endless(workers=2),
    "endless, by shape": lambda: endless(shape=True),
    "endless, by shape, 2 workers": lambda: endless(workers=2, shape=True),
    "two sources": two_sources,
    "two sources, 2 workers": lambda: two_sources(workers=2),
}


@pytest.mark.parametrize("loader", LOADERS.values(), ids=LOADERS.keys())
def test_epochs_are_resumed_inside_and_at_their_last_batch(tmp_path: Path, loader: Callable) -> None:
    """A resume from any iteration of three epochs gives the same batches as no interruption."""
    whole = Training(tmp_path / "whole", loader())
    for stop in range(1, len(whole.seen)):
        same(whole, Training(tmp_path / f"from_{stop}", loader(), resume=whole.checkpoint(stop)), stop)


@pytest.mark.parametrize("loader", LOADERS.values(), ids=LOADERS.keys())
def test_epochs_are_resumed_at_their_end(tmp_path: Path, loader: Callable) -> None:
    """The checkpoints are written by CheckpointHook with by_epoch=True."""
    hooks = dict(checkpoint=dict(type="CheckpointHook", by_epoch=True, interval=1), logger=None)
    whole = Training(tmp_path / "whole", loader(), default_hooks=hooks)
    for epoch in (1, 2):
        checkpoint = tmp_path / "whole" / f"epoch_{epoch}.pth"
        stop = torch.load(checkpoint, weights_only=False)["meta"]["iter"]
        same(whole, Training(tmp_path / f"from_{epoch}", loader(), resume=checkpoint), stop)


@pytest.mark.parametrize("loader", [*LOADERS.values(), *ENDLESS.values()], ids=[*LOADERS, *ENDLESS])
def test_steps_are_resumed(tmp_path: Path, loader: Callable) -> None:
    """IterBasedTrainLoop is resumed inside the first pass over the data, at its end, and after it."""
    whole = Training(tmp_path / "whole", loader(), STEPS, 9)
    for stop in (1, 2, 3, 4, 7):
        same(whole, Training(tmp_path / f"from_{stop}", loader(), STEPS, 9, whole.checkpoint(stop)), stop)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_infinite_epoch_is_resumed(tmp_path: Path, workers: int) -> None:
    """EpochBasedTrainLoop with an infinite sampler stays in its first epoch; an exception ends it here."""

    class Ended(Exception):
        pass

    def train(folder: str, until: int, resume: Path | None = None) -> list:
        model = Recorder()

        def step(*args: Any, **kwargs: Any) -> dict:
            if len(model.seen) == until:
                raise Ended
            return BaseModel.train_step(model, *args, **kwargs)

        model.train_step = step
        with pytest.raises(Ended):
            Training(tmp_path / folder, endless(workers), length=1, resume=resume, model=model)
        return model.seen

    whole = train("whole", 9)
    assert train("resumed", 5, tmp_path / "whole" / "iter_4.pth") == whole[4:]


def test_a_resumed_training_is_resumed_again(tmp_path: Path) -> None:
    """Positions stay right if a training is interrupted after each batch."""
    whole = Training(tmp_path / "whole", by_shape(drop_last=True), STEPS, 7)
    resume = whole.checkpoint(1)
    for stop in range(2, 7):
        part = Training(tmp_path / f"to_{stop}", by_shape(drop_last=True), STEPS, stop, resume)
        assert part.seen == whole.seen[stop - 1 : stop]
        resume = part.checkpoint(stop)


def test_the_number_of_workers_does_not_matter(tmp_path: Path) -> None:
    whole = Training(tmp_path / "whole", plain_batches())
    same(whole, Training(tmp_path / "resumed", plain_batches(workers=2), resume=whole.checkpoint(4)), 4)


@pytest.mark.parametrize(
    "loader",
    [
        lambda workers: by_shape(True, workers),
        lambda workers: ratio_of_sources(True, workers),
        lambda workers: endless(workers, shape=True),
        two_sources,
    ],
    ids=["by shape", "ratio of sources, by shape", "endless, by shape", "two sources"],
)
def test_batches_that_workers_prefetch_are_not_lost(tmp_path: Path, loader: Callable) -> None:
    """Although IterBasedTrainLoop's iterator draws from the samplers before the hook replaces it."""
    trainings = []
    for workers in (0, 2):
        np.random.seed(5)  # noqa: NPY002  (MMEngine draws the samplers' seeds from it)
        trainings.append(Training(tmp_path / f"{workers}", loader(workers), STEPS, 7))
    assert trainings[0].seen == trainings[1].seen


def test_accumulated_gradients_are_exact_after_a_step(tmp_path: Path) -> None:
    accumulating = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.01), accumulative_counts=2)
    whole = Training(tmp_path / "whole", plain_batches(), optim_wrapper=accumulating)
    resumed = Training(
        tmp_path / "resumed", plain_batches(), resume=whole.checkpoint(4), optim_wrapper=dict(accumulating)
    )
    same(whole, resumed, 4)


def test_batches_before_the_resume_are_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Training(tmp_path / "whole", plain_batches(), STEPS, 9)
    loaded = []
    load = Samples.__getitem__
    monkeypatch.setattr(Samples, "__getitem__", lambda data, index: loaded.append(index) or load(data, index))
    Training(tmp_path / "resumed", plain_batches(), STEPS, 9, whole.checkpoint(7))
    assert loaded == [index for batch in whole.indices()[7:] for index in batch]


def train_in_process(rank: int, port: int, folder: str) -> None:
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    torch.set_num_threads(1)
    init_dist("pytorch", backend="gloo")
    settings = dict(launcher="pytorch")
    whole = Training(Path(folder) / "whole", plain_batches(2), **settings)
    again = Training(Path(folder) / "again", plain_batches(2), resume=whole.checkpoint(5), **settings)
    uneven = Training(Path(folder) / "uneven", by_shape(drop_last=True), STEPS, 3, **settings)
    uneven = Training(Path(folder) / "uneven2", by_shape(drop_last=True), STEPS, 3, uneven.checkpoint(2), **settings)
    torch.save(
        dict(whole=whole.seen, again=again.seen, said=again.log.inexact(), uneven=uneven.log.inexact()),
        f"{folder}/{get_rank()}.pt",
    )


def test_two_processes_and_then_one(tmp_path: Path) -> None:
    """Two processes resume exactly, each with its own batches; a single process resumes with a warning."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(train_in_process, (port, str(tmp_path)), nprocs=2)
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    for process in found:
        assert process["again"] == process["whole"][5:] and not process["said"]
    assert found[0]["whole"] != found[1]["whole"]
    (line,) = found[0]["uneven"]
    assert "may differ between processes" in line
    reason = "the number of processes was 2 and is 1"
    checkpoint = tmp_path / "whole" / "iter_8.pth"
    assert_as_without_hook(tmp_path, lambda: plain_batches(2), EPOCHS, 3, checkpoint, reason)


def test_several_optimizers_count_the_batches_since_a_step() -> None:
    from gfl_plugin.hooks.exact_resume_layout import batches_since_step

    layer = nn.Linear(1, 1)

    def wrapper(count: int, done: int) -> OptimWrapper:
        one = OptimWrapper(torch.optim.SGD(layer.parameters(), 0.1), accumulative_counts=count)
        one.initialize_count_status(layer, done, 9)
        return one

    assert batches_since_step(wrapper(4, 7)) == 3
    assert batches_since_step(wrapper(4, 8)) == 0
    assert batches_since_step(wrapper(4, 9)) == 0, "the last iteration makes a step with the remaining batches"
    assert batches_since_step(OptimWrapperDict(a=wrapper(1, 7), b=wrapper(3, 8))) == 2
