"""Training that is killed and resumed ends where it would have ended."""

from __future__ import annotations

import copy
import itertools
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from mmdet.datasets import AspectRatioBatchSampler
from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader, Dataset

from ..registry import HOOKS

_KEY = "gfl_plugin_exact_resume"
# What a data loader is made of, beside its data set and its batches.
_SETTINGS = (
    "num_workers", "collate_fn", "pin_memory", "timeout", "worker_init_fn", "multiprocessing_context", "generator",
    "prefetch_factor", "persistent_workers",
)  # fmt: skip
_DATA, _STEP = 0, 1  # which stream of random numbers


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Makes random numbers a function of the seed and the step, not of what ran before.

    Each sample is loaded with numbers of its own (of seed, epoch, batch, place in the batch, worker process of the
    training), each training step runs with numbers of its own; so the state of no generator has to be saved, and the
    number of loading processes does not matter. A resumed training starts at the batch after the last one that its
    checkpoint has seen, also inside an epoch, and the skipped ones are not loaded.

    With the same number of processes on the same machine, weights are then the same to the last bit as those of a
    training never interrupted. Not covered: what keeps a state outside of its checkpoint (gradients accumulated over
    several batches when it is written, YOLOX's random batch sizes), and GPU kernels that are not deterministic
    themselves (``randomness=dict(deterministic=True)``).

    Raises:
        ValueError: for a train loop or data that it cannot do that with.
    """

    priority = "HIGHEST"

    def __init__(self) -> None:
        self._seed = 0
        self._resumed: dict | None = None
        self._batches: _Batches | None = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        self._resumed = checkpoint.get(_KEY)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        sampler = _sampler_of(runner.train_loop.dataloader)
        checkpoint[_KEY] = dict(seed=self._seed, sampler_seed=getattr(sampler, "seed", None))

    def before_train(self, runner: Runner) -> None:
        loop = runner.train_loop
        loader = loop.dataloader
        self._seed = runner.seed
        if runner.iter > 0:
            self._take_over(runner, loader)
        self._batches = _Batches(loader.batch_sampler, self._seed, get_rank())
        settings = {name: getattr(loader, name) for name in _SETTINGS}
        exact = DataLoader(_SeededData(loader.dataset), batch_sampler=self._batches, **settings)
        if isinstance(loop, EpochBasedTrainLoop):
            self._batches.skipped = loop.iter - loop.epoch * len(loader)
        elif isinstance(loop, IterBasedTrainLoop):
            loop.dataloader_iterator = _Endless(exact, self._batches, loop.iter)
        else:
            raise ValueError(
                f"the train loop is a {type(loop).__name__}; ExactResumeHook knows MMEngine's EpochBasedTrainLoop and "
                "IterBasedTrainLoop"
            )
        loop.dataloader = exact

    def _take_over(self, runner: Runner, loader: DataLoader) -> None:
        """The seeds of the training that goes on."""
        if self._resumed is None:
            runner.logger.warning(
                "the checkpoint was written without ExactResumeHook: training goes on from it, though not exactly as "
                "it would have without an interruption"
            )
            return
        self._seed = self._resumed["seed"]
        sampler = _sampler_of(loader)
        if hasattr(sampler, "seed"):
            sampler.seed = self._resumed["sampler_seed"]

    def before_train_epoch(self, runner: Runner) -> None:
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            self._batches.epoch = runner.epoch

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        seed_everything(mixed(self._seed, _STEP, runner.iter, get_rank()))


def mixed(*numbers: int) -> int:
    """One number of 64 bits from several, each of which changes it."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and PyTorch's generators, without waiting for a GPU."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  (MMDetection's transforms draw from it)
    torch.manual_seed(seed)


def _sampler_of(loader: DataLoader) -> object:
    return getattr(loader.batch_sampler, "sampler", loader.sampler)


class _Batches:
    """A batch sampler whose indices carry their seeds, and which can begin inside an epoch."""

    def __init__(self, inner: Any, seed: int, rank: int) -> None:
        if inner is None:
            raise ValueError("ExactResumeHook needs a data set with indices; this data loader has no sampler")
        self.inner, self.seed, self.rank = _fresh(inner), seed, rank
        self.epoch = 0
        self.skipped = 0  # batches that the next pass leaves out

    @property
    def sampler(self) -> object:
        """The sampler inside, of which MMEngine's hooks set the epoch."""
        return getattr(self.inner, "sampler", None)

    def __len__(self) -> int:
        return len(self.inner)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        first, self.skipped = self.skipped, 0
        epoch = self.epoch
        for number, batch in enumerate(itertools.islice(iter(self.inner), first, None), first):
            seeds = (mixed(self.seed, _DATA, epoch, number, place, self.rank) for place in range(len(batch)))
            yield list(zip(batch, seeds))


def _fresh(batch_sampler: Any) -> Any:
    """The batch sampler as if nobody had drawn from it; IterBasedTrainLoop has, where it has loading processes.

    MMEngine's endless sampler goes on where it was, and MMDetection's by aspect ratio keeps what it has drawn: with a
    bucket that is full already it would never end.
    """
    sampler = getattr(batch_sampler, "sampler", None)
    if isinstance(sampler, InfiniteSampler):
        sampler.indices = sampler._indices_of_rank()
    if isinstance(batch_sampler, AspectRatioBatchSampler):
        batch_sampler = copy.copy(batch_sampler)
        batch_sampler._aspect_ratio_buckets = [[] for _ in batch_sampler._aspect_ratio_buckets]
    return batch_sampler


class _SeededData(Dataset):
    """A data set that is asked with (index, seed); in everything else it is the one inside."""

    def __init__(self, inner: Any) -> None:
        self.__dict__["_inner"] = inner

    def __getitem__(self, item: tuple[int, int]) -> Any:
        index, seed = item
        seed_everything(seed)
        return self._inner[index]

    def __len__(self) -> int:
        return len(self._inner)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._inner, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._inner, name, value)  # hooks exchange pipelines so

    def __reduce__(self) -> tuple:
        return _SeededData, (self._inner,)


class _Endless:
    """What IterBasedTrainLoop takes its batches from: epoch after epoch, from any step on."""

    def __init__(self, loader: DataLoader, batches: _Batches, step: int) -> None:
        self._loader, self._batches = loader, batches
        self._unasked = step  # batches that MMEngine asks for only to pass them over
        endless = isinstance(batches.sampler, InfiniteSampler)
        batches.epoch, batches.skipped = (0, step) if endless else divmod(step, len(loader))
        self._iterator = self._begin()

    def _begin(self) -> Iterator:
        sampler = self._batches.sampler
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(self._batches.epoch)
        return iter(self._loader)

    def __iter__(self) -> _Endless:
        return self

    def __next__(self) -> Any:
        if self._unasked:
            self._unasked -= 1
            return None
        try:
            return next(self._iterator)
        except StopIteration:
            self._batches.epoch += 1
            self._iterator = self._begin()
            return next(self._iterator)
