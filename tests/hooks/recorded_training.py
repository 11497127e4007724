"""Small trainings that record sample indices, random numbers, weights and warnings."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gfl_plugin  # noqa: F401  # isort: skip  (must precede mmdet without compiled ops)
import numpy as np
import torch
from mmdet.datasets import BaseVideoDataset
from mmdet.datasets.samplers import (
    AspectRatioBatchSampler,
    ClassAwareSampler,
    MultiDataAspectRatioBatchSampler,
    MultiDataSampler,
    MultiSourceSampler,
    TrackAspectRatioBatchSampler,
    TrackImgSampler,
)
from mmengine.dataset import DefaultSampler, InfiniteSampler, pseudo_collate
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import BatchSampler, ConcatDataset, DataLoader, Dataset, IterableDataset, SequentialSampler

KEY = "gfl_plugin_exact_resume"
HOOK = dict(type="gfl_plugin.ExactResumeHook")
EPOCHS, STEPS = "EpochBasedTrainLoop", "IterBasedTrainLoop"
SAMPLES = 12  # 6 wide and 6 tall ones; 2 of each remain after batches of 4


def three_numbers() -> list[float]:
    """One random number from each generator."""
    return [random.random(), float(np.random.rand()), float(torch.rand(()))]  # noqa: NPY002


class Samples(Dataset):
    """Samples that contain their index and random numbers drawn during loading."""

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
    """One layer that records of each batch the indices and the random numbers of loading and of the step."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.seen: list[tuple] = []

    def forward(self, inputs: list[Tensor], data_samples: list, mode: str = "loss") -> dict[str, Tensor]:
        indices, *loaded = data_samples  # pseudo_collate gives one list per field
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
    """A finished training: recorded batches, weights and warnings."""

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
    """Check that a resumed training has the batches, random numbers and weights of an uninterrupted one."""
    assert other.log.inexact() == []
    assert other.indices() == one.indices()[stop:]
    assert other.seen == one.seen[stop:]
    assert all(torch.equal(other.weights[name], value) for name, value in one.weights.items())


def assert_as_without_hook(
    folder: Path, loader: Callable, loop: str, length: int, checkpoint: Path, reason: str, **settings: Any
) -> Training:
    """Check that a resume has the batches of MMEngine without the hook, and one warning with the reason."""
    copies = [{key: dict(value) for key, value in settings.items()} for _ in range(2)]
    alone = Training(folder / "alone", loader(), loop, length, checkpoint, hook=False, **copies[0])
    resumed = Training(folder / "resumed", loader(), loop, length, checkpoint, **copies[1])
    assert resumed.indices() == alone.indices() and alone.indices()
    assert len(resumed.log.inexact()) == 1, resumed.log.lines
    assert reason in resumed.log.inexact()[0] and "\n" not in resumed.log.inexact()[0]
    return resumed
