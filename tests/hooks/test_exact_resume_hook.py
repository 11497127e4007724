"""A training that resumes sees the batches and random numbers that it would have seen, or says why it does not."""

from __future__ import annotations

import logging
import os
import random
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gfl_plugin  # noqa: F401  # isort: skip  (first: without compiled ops MMDetection's models need it)
import numpy as np
import pytest
import torch
from mmdet.datasets import BaseVideoDataset, MultiImageMixDataset
from mmdet.datasets.samplers import (
    AspectRatioBatchSampler,
    ClassAwareSampler,
    CustomSampleSizeSampler,
    GroupMultiSourceSampler,
    MultiDataAspectRatioBatchSampler,
    MultiDataSampler,
    MultiSourceSampler,
    TrackAspectRatioBatchSampler,
    TrackImgSampler,
)
from mmdet.datasets.transforms import CachedMixUp, CachedMosaic
from mmdet.models import BatchSyncRandomResize
from mmengine.dataset import Compose, DefaultSampler, InfiniteSampler, RepeatDataset, pseudo_collate
from mmengine.dist import get_rank, init_dist
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import BatchSampler, ConcatDataset, DataLoader, Dataset, IterableDataset, SequentialSampler

KEY = "gfl_plugin_exact_resume"
HOOK = dict(type="gfl_plugin.ExactResumeHook")
EPOCHS, STEPS = "EpochBasedTrainLoop", "IterBasedTrainLoop"
SAMPLES = 12  # 6 wide and 6 tall: batches of 4 leave two of each


def three_numbers() -> list[float]:
    """One random number of each generator."""
    return [random.random(), float(np.random.rand()), float(torch.rand(()))]  # noqa: NPY002


class Samples(Dataset):
    """Samples that know their index, and the random numbers drawn while they were loaded."""

    metainfo = dict(classes=("a", "b", "c"))

    def __init__(self, count: int = SAMPLES) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: Any) -> dict:
        return dict(inputs=torch.ones(2), data_samples=[index, *three_numbers()])

    def get_data_info(self, index: int) -> dict:
        return dict(width=2 if index % 2 else 1, height=1 if index % 2 else 2)

    def get_cat_ids(self, index: int) -> list[int]:
        return [index % 3]


class Sources(ConcatDataset):
    """Two data sets in one."""

    metainfo = Samples.metainfo

    def __init__(self, counts: tuple[int, ...] = (8, 5)) -> None:
        super().__init__([Samples(count) for count in counts])

    def __getitem__(self, index: int) -> dict:
        return dict(inputs=torch.ones(2), data_samples=[index, *three_numbers()])

    def get_data_info(self, index: int) -> dict:
        return self.datasets[0].get_data_info(index)

    def get_dataset_source(self, index: int) -> int:
        return int(index >= self.cumulative_sizes[0])


class Videos(Samples, BaseVideoDataset):
    """Three videos of four images, each of which is a sample."""

    metainfo = Samples.metainfo
    test_mode = False

    def __init__(self) -> None:
        Samples.__init__(self, 3)

    def get_len_per_video(self, index: int) -> int:
        return 4

    def get_data_info(self, index: int) -> dict:
        return dict(images=[Samples.get_data_info(self, index)])


class Stream(IterableDataset):
    """Samples without indices."""

    def __len__(self) -> int:
        return SAMPLES

    def __iter__(self) -> Iterator[dict]:
        return (Samples()[index] for index in range(SAMPLES))


class Recorder(BaseModel):
    """One layer, which keeps of each batch what it saw: indices, numbers drawn in loading and in the step."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.seen: list[tuple] = []

    def forward(self, inputs: list[Tensor], data_samples: list, mode: str = "loss") -> dict[str, Tensor]:
        indices, *loaded = data_samples  # pseudo_collate lists field by field
        drawn = three_numbers()
        indices = list(zip(*(i.tolist() if torch.is_tensor(i) else i for i in indices))) if nested(indices) else indices
        self.seen.append((tuple(map(plain, indices)), [tuple(map(float, numbers)) for numbers in loaded], drawn))
        return dict(loss=(self.layer(torch.stack(list(inputs))) * torch.tensor(drawn).sum()).mean())


def nested(indices: Any) -> bool:
    return not torch.is_tensor(indices) and any(isinstance(one, (list, tuple)) for one in indices)


def plain(index: Any) -> Any:
    return tuple(map(int, index)) if isinstance(index, (list, tuple)) else int(index)


class Log(logging.Handler):
    """The warnings of a training."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def inexact(self) -> list[str]:
        return [line for line in self.lines if "not exact" in line]


class Training:
    """A training that has ended: what it saw, its weights and its warnings."""

    def __init__(
        self,
        folder: Path,
        loader: DataLoader,
        loop: str = EPOCHS,
        length: int = 3,
        resume: Path | None = None,
        hook: bool = True,
        **settings: Any,
    ) -> None:
        limit = dict(max_epochs=length) if loop == EPOCHS else dict(max_iters=length)
        torch.manual_seed(1)
        config = dict(
            model=Recorder(),
            work_dir=str(folder),
            train_dataloader=loader,
            train_cfg=dict(type=loop, **limit),
            optim_wrapper=dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.01, momentum=0.9)),
            default_hooks=dict(checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=1), logger=None),
            custom_hooks=[HOOK] if hook else [],
            default_scope="mmdet",
            randomness=dict(seed=0),
            experiment_name=f"{folder.name}_{random.SystemRandom().randrange(10**9)}",
            log_level="WARNING",
            resume=resume is not None,
            load_from=None if resume is None else str(resume),
        )
        run = Runner(**{**config, **settings})
        self.folder, self.log = folder, Log()
        run.logger.addHandler(self.log)
        run.train()
        model = getattr(run.model, "module", run.model)
        self.seen, self.weights = model.seen, model.state_dict()

    def indices(self) -> list[tuple]:
        return [indices for indices, *_ in self.seen]

    def checkpoint(self, step: int) -> Path:
        return self.folder / f"iter_{step}.pth"


def batches(dataset: Dataset, batch_sampler: Any, workers: int = 0) -> DataLoader:
    return DataLoader(dataset, batch_sampler=batch_sampler, num_workers=workers, collate_fn=pseudo_collate)


def plain_batches(size: int = 4, workers: int = 0, count: int = SAMPLES, seed: int | None = 0) -> DataLoader:
    data = Samples(count)
    return batches(data, BatchSampler(DefaultSampler(data, seed=seed), size, drop_last=False), workers)


def by_shape(drop_last: bool, workers: int = 0) -> DataLoader:
    data = Samples()
    return batches(data, AspectRatioBatchSampler(DefaultSampler(data), 4, drop_last), workers)


def endless(workers: int = 0, shape: bool = False) -> DataLoader:
    data = Samples()
    kind = AspectRatioBatchSampler if shape else BatchSampler
    return batches(data, kind(InfiniteSampler(data), 4, False), workers)


def two_sources(workers: int = 0) -> DataLoader:
    data = Sources()
    return batches(data, BatchSampler(MultiSourceSampler(data, 4, [3, 1]), 4, False), workers)


def ratio_of_sources(shape: bool, workers: int = 0) -> DataLoader:
    data = Sources()
    sampler = MultiDataSampler(data, [2, 1])
    size_of_each = MultiDataAspectRatioBatchSampler(sampler, [3, 2], 2, drop_last=False)
    return batches(data, size_of_each if shape else BatchSampler(sampler, 4, False), workers)


def videos(shape: bool) -> DataLoader:
    data = Videos()
    kind = TrackAspectRatioBatchSampler if shape else BatchSampler
    return batches(data, kind(TrackImgSampler(data), 4, False))


def by_class() -> DataLoader:
    data = Samples()
    return batches(data, BatchSampler(ClassAwareSampler(data), 4, False))


def in_order() -> DataLoader:
    data = Samples()
    return batches(data, BatchSampler(SequentialSampler(data), 4, False))


def same(one: Training, other: Training, stop: int) -> None:
    """One saw after the stop what the other saw; batches, random numbers, and with them the weights."""
    assert other.log.inexact() == []
    assert other.indices() == one.indices()[stop:]
    assert other.seen == one.seen[stop:]
    assert all(torch.equal(other.weights[name], value) for name, value in one.weights.items())


@pytest.fixture(autouse=True)
def _quick_ends_of_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where worker processes do not end by themselves, PyTorch waits for each that long."""
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.1)


@pytest.fixture
def no_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """MMEngine's loop waits two seconds between epochs."""
    monkeypatch.setattr("mmengine.runner.loops.time.sleep", lambda seconds: None)


# ---------------------------------------------------------------------------------------------------
# Exact
# ---------------------------------------------------------------------------------------------------

# Data loaders of 12 or 13 samples; 3 batches per epoch at most, so that 4 and 7 are in later epochs.
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
    """From each iteration of a training of three epochs: the batches after it, as without an interruption."""
    whole = Training(tmp_path / "whole", loader())
    for stop in range(1, len(whole.seen)):
        same(whole, Training(tmp_path / f"from_{stop}", loader(), resume=whole.checkpoint(stop)), stop)


@pytest.mark.parametrize("loader", LOADERS.values(), ids=LOADERS.keys())
def test_epochs_are_resumed_at_their_end(tmp_path: Path, loader: Callable) -> None:
    """From checkpoints that CheckpointHook writes with by_epoch=True."""
    hooks = dict(checkpoint=dict(type="CheckpointHook", by_epoch=True, interval=1), logger=None)
    whole = Training(tmp_path / "whole", loader(), default_hooks=hooks)
    for epoch in (1, 2):
        checkpoint = tmp_path / "whole" / f"epoch_{epoch}.pth"
        stop = torch.load(checkpoint, weights_only=False)["meta"]["iter"]
        same(whole, Training(tmp_path / f"from_{epoch}", loader(), resume=checkpoint), stop)


@pytest.mark.parametrize("loader", [*LOADERS.values(), *ENDLESS.values()], ids=[*LOADERS, *ENDLESS])
def test_steps_are_resumed(tmp_path: Path, loader: Callable) -> None:
    """IterBasedTrainLoop, from inside of the first pass over the data, its end, and past it."""
    whole = Training(tmp_path / "whole", loader(), STEPS, 9)
    for stop in (1, 2, 3, 4, 7):
        same(whole, Training(tmp_path / f"from_{stop}", loader(), STEPS, 9, whole.checkpoint(stop)), stop)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_without_end_is_resumed(tmp_path: Path, workers: int) -> None:
    """EpochBasedTrainLoop with an endless sampler never leaves its first epoch; ended here by an exception."""

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
    """Positions do not drift when a training is interrupted after each batch."""
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
def test_what_workers_draw_ahead_is_not_lost(tmp_path: Path, loader: Callable) -> None:
    """IterBasedTrainLoop's own iterator has drawn from the samplers before the hook replaces it."""
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


def test_batches_already_seen_are_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Training(tmp_path / "whole", plain_batches(), STEPS, 9)
    loaded = []
    load = Samples.__getitem__
    monkeypatch.setattr(Samples, "__getitem__", lambda data, index: loaded.append(index) or load(data, index))
    Training(tmp_path / "resumed", plain_batches(), STEPS, 9, whole.checkpoint(7))
    assert loaded == [index for batch in whole.indices()[7:] for index in batch]


# ---------------------------------------------------------------------------------------------------
# Not exact: as MMEngine alone, and one warning
# ---------------------------------------------------------------------------------------------------


def assert_as_without_hook(
    folder: Path, loader: Callable, loop: str, length: int, checkpoint: Path, reason: str, **settings: Any
) -> Training:
    """The resumed training sees what MMEngine alone would see, names the reason in one line, and ends."""
    copies = [{key: dict(value) for key, value in settings.items()} for _ in range(2)]
    alone = Training(folder / "alone", loader(), loop, length, checkpoint, hook=False, **copies[0])
    resumed = Training(folder / "resumed", loader(), loop, length, checkpoint, **copies[1])
    assert resumed.indices() == alone.indices() and alone.indices()
    assert len(resumed.log.inexact()) == 1, resumed.log.lines
    assert reason in resumed.log.inexact()[0] and "\n" not in resumed.log.inexact()[0]
    return resumed


def edited(checkpoint: Path, change: Callable[[dict], Any]) -> Path:
    """A copy of a checkpoint, with a change to what the hook stored."""
    content = torch.load(checkpoint, weights_only=False)
    change(content[KEY])
    path = checkpoint.with_name(f"edited_{checkpoint.name}")
    torch.save(content, path)
    return path


@pytest.mark.parametrize("stop", [2, 3, 4])
@pytest.mark.parametrize("loop", [EPOCHS, STEPS])
@pytest.mark.parametrize("size", [2, 8])
def test_other_batch_size(tmp_path: Path, no_sleep: None, size: int, loop: str, stop: int) -> None:
    length = 3 if loop == EPOCHS else 12
    whole = Training(tmp_path / "whole", plain_batches(4), loop, length)
    reason = f"the batch size was 4 and is {size}"
    assert_as_without_hook(tmp_path, lambda: plain_batches(size), loop, length, whole.checkpoint(stop), reason)


def test_other_batch_size_by_shape(tmp_path: Path, no_sleep: None) -> None:
    def loader(size: int) -> DataLoader:
        data = Samples()
        return batches(data, AspectRatioBatchSampler(DefaultSampler(data, seed=0), size, True))

    for loop, length in ((EPOCHS, 3), (STEPS, 12)):
        whole = Training(tmp_path / loop / "whole", loader(4), loop, length)
        reason = "the batch size was 4 and is 5"
        assert_as_without_hook(tmp_path / loop, lambda: loader(5), loop, length, whole.checkpoint(4), reason)


@pytest.mark.parametrize("loop", [EPOCHS, STEPS])
def test_exact_again_after_an_inexact_resume(tmp_path: Path, loop: str) -> None:
    """The checkpoints written then hold their own positions."""
    length = 3 if loop == EPOCHS else 12
    first = Training(tmp_path / "first", plain_batches(4), loop, length)
    second = Training(tmp_path / "second", plain_batches(2), loop, length, first.checkpoint(4))
    assert second.log.inexact()
    for later in (1, 2, 3):  # batches after the inexact resume
        third = Training(tmp_path / f"third_{later}", plain_batches(2), loop, length, second.checkpoint(4 + later))
        same(second, third, later)


@pytest.mark.parametrize("loop", [EPOCHS, STEPS])
def test_samples_added(tmp_path: Path, no_sleep: None, loop: str) -> None:
    length = 3 if loop == EPOCHS else 12
    whole = Training(tmp_path / "whole", plain_batches(), loop, length)
    loader, reason = (lambda: plain_batches(count=15)), "the number of samples was 12 and is 15"
    assert_as_without_hook(tmp_path, loader, loop, length, whole.checkpoint(4), reason)


@pytest.mark.parametrize("loop", [EPOCHS, STEPS])
def test_other_number_of_processes(tmp_path: Path, no_sleep: None, loop: str) -> None:
    """Written as if by two processes, which have half as many batches per epoch; in the fourth of theirs."""
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
def test_checkpoints_without_a_position(tmp_path: Path, no_sleep: None, loop: str, written: str) -> None:
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
    """As of a checkpoint that is written inside an epoch, as if at its end."""
    whole = Training(tmp_path / "whole", plain_batches())
    checkpoint = edited(whole.checkpoint(4), lambda stored: stored.get("position", {}).update(epoch=0))
    assert_as_without_hook(tmp_path, plain_batches, EPOCHS, 3, checkpoint, "its position in the data is in epoch 1")


class OwnSampler(DefaultSampler):
    """A sampler of a user."""


class OwnBatchSampler:
    """Batches of a user, without a size, some of them not a list."""

    sampler = SequentialSampler(range(5))

    def __iter__(self) -> Iterator:
        return iter([(0, 1), iter([2, 3]), (4,)])

    def __len__(self) -> int:
        return 3


def unknown_sampler() -> DataLoader:
    data = Samples()
    return batches(data, BatchSampler(OwnSampler(data, seed=0), 4, False))


def groups_of_sources() -> DataLoader:
    data = Sources()
    for source in data.datasets:
        source.get_data_info = Samples().get_data_info
    return batches(data, BatchSampler(GroupMultiSourceSampler(data, 4, [3, 1], seed=0), 4, False))


def sample_sizes() -> DataLoader:
    data = Sources()
    return batches(data, BatchSampler(CustomSampleSizeSampler(data, [-1, 3], seed=0), 4, False))


@pytest.mark.parametrize("loop", [EPOCHS, STEPS])
@pytest.mark.parametrize(
    ("loader", "reason"),
    [
        (unknown_sampler, "the sampler OwnSampler is not known"),
        (lambda: batches(Samples(), OwnBatchSampler()), "the batch sampler OwnBatchSampler is not known"),
        (lambda: DataLoader(Stream(), batch_size=4, collate_fn=pseudo_collate), "its dataset has no indices"),
    ],
    ids=["sampler", "batch sampler", "stream"],
)
def test_data_that_the_hook_does_not_know(
    tmp_path: Path, no_sleep: None, loader: Callable, reason: str, loop: str
) -> None:
    length = 3 if loop == EPOCHS else 9
    whole = Training(tmp_path / "whole", loader(), loop, length)
    assert_as_without_hook(tmp_path, loader, loop, length, whole.checkpoint(4), reason)


@pytest.mark.parametrize("loop", [EPOCHS, STEPS])
def test_a_sampler_that_the_user_vouches_for_is_resumed_exactly(tmp_path: Path, loop: str) -> None:
    hooks = dict(custom_hooks=[dict(HOOK, trusted_samplers=["OwnSampler"])])
    length = 3 if loop == EPOCHS else 9
    whole = Training(tmp_path / "whole", unknown_sampler(), loop, length, **hooks)
    resumed = Training(tmp_path / "resumed", unknown_sampler(), loop, length, whole.checkpoint(5), **hooks)
    same(whole, resumed, 5)


def shuffled_by_torch() -> DataLoader:
    return DataLoader(Samples(), 4, shuffle=True, collate_fn=pseudo_collate)


@pytest.mark.parametrize(
    ("loader", "reason"),
    [
        (shuffled_by_torch, "RandomSampler draws its order from global random numbers"),
        (groups_of_sources, "GroupMultiSourceSampler draws its order from global random numbers"),
        (sample_sizes, "the order of CustomSampleSizeSampler depends on all earlier epochs"),
    ],
    ids=["RandomSampler", "GroupMultiSourceSampler", "CustomSampleSizeSampler"],
)
def test_samplers_whose_order_is_not_a_function_of_the_seed(tmp_path: Path, loader: Callable, reason: str) -> None:
    """Nobody can say which batches come, but training goes on to its end, and says so."""
    whole = Training(tmp_path / "whole", loader(), STEPS, 7)
    resumed = Training(tmp_path / "resumed", loader(), STEPS, 7, whole.checkpoint(4))
    assert len(resumed.seen) == 3
    assert len(resumed.log.inexact()) == 1 and reason in resumed.log.inexact()[0]


def cached(kind: type) -> Samples:
    data = Samples()
    data.pipeline = Compose([])
    data.pipeline.transforms = [SimpleNamespace(transforms=[[kind(img_scale=(8, 8))]])]  # as inside of RandomChoice
    return data


def mixing(kind: type) -> MultiImageMixDataset:
    data = MultiImageMixDataset.__new__(MultiImageMixDataset)
    data.dataset, data.pipeline = Samples(), [kind(img_scale=(8, 8))]
    return data


def test_a_transform_that_refers_to_its_data_set(tmp_path: Path) -> None:
    """The search for caches ends where data sets and transforms refer to each other."""

    def loader() -> DataLoader:
        data = Samples()
        data.pipeline = Compose([])
        data.pipeline.transforms = [SimpleNamespace(dataset=data)]
        return batches(data, BatchSampler(DefaultSampler(data), 4, False))

    whole = Training(tmp_path / "whole", loader())
    same(whole, Training(tmp_path / "resumed", loader(), resume=whole.checkpoint(4)), 4)


@pytest.mark.parametrize("kind", [CachedMosaic, CachedMixUp])
@pytest.mark.parametrize("wrapped", ["pipeline", "repeated", "joined", "mixing"])
def test_transforms_with_a_cache(tmp_path: Path, kind: type, wrapped: str) -> None:
    def loader() -> DataLoader:
        data = mixing(kind) if wrapped == "mixing" else cached(kind)
        if wrapped == "repeated":
            inner, data = data, RepeatDataset.__new__(RepeatDataset)
            data.dataset = inner
        elif wrapped == "joined":
            data = ConcatDataset([Samples(2), data])
        view = Samples()
        view.dataset = data
        return batches(view, BatchSampler(DefaultSampler(view, seed=0), 4, False))

    whole = Training(tmp_path / "whole", loader())
    reason = f"{kind.__name__} keeps earlier samples"
    assert_as_without_hook(tmp_path, loader, EPOCHS, 3, whole.checkpoint(4), reason)


def test_a_transform_that_does_not_use_its_cache(tmp_path: Path) -> None:
    def loader() -> DataLoader:
        data = Samples()
        data.pipeline = Compose([])
        data.pipeline.transforms = [SimpleNamespace(results_cache=[], use_cached=False)]
        return batches(data, BatchSampler(DefaultSampler(data), 4, False))

    whole = Training(tmp_path / "whole", loader())
    same(whole, Training(tmp_path / "resumed", loader(), resume=whole.checkpoint(4)), 4)


def test_an_image_size_that_lasts(tmp_path: Path) -> None:
    class Resizing(Recorder):
        def __init__(self) -> None:
            super().__init__()
            self.batch_augments = nn.ModuleList([BatchSyncRandomResize((32, 64))])

    whole = Training(tmp_path / "whole", plain_batches(), model=Resizing())
    resumed = Training(tmp_path / "resumed", plain_batches(), resume=whole.checkpoint(4), model=Resizing())
    assert resumed.indices() == whole.indices()[3:]
    (line,) = resumed.log.inexact()
    assert "BatchSyncRandomResize keeps an image size" in line


def test_reasons_are_named_in_one_line(tmp_path: Path) -> None:
    whole = Training(tmp_path / "whole", plain_batches())
    resumed = Training(tmp_path / "resumed", plain_batches(2, count=15), resume=whole.checkpoint(4))
    (line,) = resumed.log.inexact()
    assert "batch size" in line and "number of samples" in line and "epoch 2 begins at its first batch" in line


@pytest.mark.parametrize("loader", [shuffled_by_torch, unknown_sampler])
def test_nothing_is_said_before_a_resume(tmp_path: Path, loader: Callable) -> None:
    assert Training(tmp_path / "whole", loader()).log.inexact() == []


# ---------------------------------------------------------------------------------------------------
# Several processes
# ---------------------------------------------------------------------------------------------------


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


def test_two_processes_and_then_one(tmp_path: Path, no_sleep: None) -> None:
    """Two resume exactly, each with its own batches; one goes on with what two have left, and says so."""
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
    assert batches_since_step(wrapper(4, 9)) == 0, "the last iteration makes a step with what is left"
    assert batches_since_step(OptimWrapperDict(a=wrapper(1, 7), b=wrapper(3, 8))) == 2
