"""Data loading that starts at any batch of an epoch, with one seed per sample."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mmdet.datasets.samplers import MultiSourceSampler
from mmengine.dataset import InfiniteSampler
from torch.utils.data import DataLoader, Dataset

from ..runtime.seeds import derive_seed, seed_everything

DATA_STREAM, STEP_STREAM = 0, 1  # enter the seed, so that data loading and training steps draw different numbers
# Settings of a data loader that are copied to its replacement: all but its dataset and its batch sampler.
_SETTINGS = (
    "num_workers", "collate_fn", "pin_memory", "timeout", "worker_init_fn", "multiprocessing_context", "generator",
    "prefetch_factor", "persistent_workers",
)  # fmt: skip


@dataclass(frozen=True)
class Position:
    """A position of the training in its data."""

    epoch: int  # from 0; for IterBasedTrainLoop the number of complete passes over the data
    batches: int  # batches of this epoch that training has used


def seeded_loader(loader: DataLoader, batches: SeededBatchSampler) -> DataLoader:
    """Copy a data loader with its settings, but with seeded batches.

    Args:
        loader: the data loader to copy.
        batches: the batch sampler of the copy.

    Returns:
        A new data loader over the same dataset.
    """
    settings = {name: getattr(loader, name) for name in _SETTINGS}
    return DataLoader(SeededDataset(loader.dataset), batch_sampler=batches, **settings)


class SeededBatchSampler:
    """A batch sampler that yields (index, seed) pairs, and starts at a given position.

    Args:
        inner: the batch sampler that chooses the indices.
        seed: of the training.
        rank: of this process.
        start: position of the first pass. If its epoch has fewer batches, ``across_epochs`` decides what follows.
    """

    def __init__(self, inner: Any, seed: int, rank: int, start: Position) -> None:
        self.inner, self.seed, self.rank = _reset(inner), seed, rank
        self.epoch, self.first = start.epoch, start.batches  # of the current pass; `first` numbers its first batch
        self.across_epochs = False  # True: batches that the epoch does not have are skipped in the following epochs
        self._to_skip = start.batches  # batches to skip in the next pass

    @property
    def sampler(self) -> Any:
        """The sampler of the inner batch sampler; MMEngine's hooks set its epoch."""
        return getattr(self.inner, "sampler", None)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch here and in the sampler.

        Args:
            epoch: from 0.
        """
        self.epoch = epoch
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.inner)

    def __iter__(self) -> Iterator[list[tuple[Any, int]]]:
        batches = self._begin()
        for number, batch in enumerate(batches, self.first):
            seeds = (
                derive_seed(self.seed, DATA_STREAM, self.epoch, number, place, self.rank) for place in itertools.count()
            )
            yield list(zip(batch, seeds))

    def _begin(self) -> Iterator[Any]:
        """Start a pass and skip its first batches."""
        while True:
            batches = iter(self.inner)
            self.first = sum(1 for _ in itertools.islice(batches, self._to_skip))
            self._to_skip -= self.first
            if not (self.across_epochs and self._to_skip and self.first):
                self._to_skip = 0
                return batches
            self.set_epoch(self.epoch + 1)


def _reset(batch_sampler: Any) -> Any:
    """Undo what has been drawn from a batch sampler: with loading workers, IterBasedTrainLoop draws when it is built.

    Infinite samplers continue where they stopped. Batch samplers by aspect ratio keep the indices they have drawn: if a
    bucket is full already, they never yield from it again.
    """
    sampler = getattr(batch_sampler, "sampler", None)
    if type(sampler) is InfiniteSampler:
        sampler.indices = sampler._indices_of_rank()
    if type(sampler) is MultiSourceSampler:
        sizes = (len(one) for one in sampler.dataset.datasets)
        sampler.source2inds = {source: sampler._indices_of_rank(size) for source, size in enumerate(sizes)}
    for name in ("_aspect_ratio_buckets", "_buckets"):
        if hasattr(batch_sampler, name):
            batch_sampler = copy.copy(batch_sampler)
            setattr(batch_sampler, name, [[] for _ in getattr(batch_sampler, name)])
    return batch_sampler


class SeededDataset(Dataset):
    """A dataset indexed by (index, seed) pairs. Everything else is forwarded to the inner dataset.

    Args:
        inner: the dataset indexed by the indices alone.
    """

    def __init__(self, inner: Any) -> None:
        self.__dict__["_inner"] = inner

    def __getitem__(self, item: tuple[Any, int]) -> Any:
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
        setattr(self._inner, name, value)  # hooks replace pipelines this way

    def __reduce__(self) -> tuple:
        return SeededDataset, (self._inner,)


class EpochIterator:
    """Iterates over a data loader epoch after epoch, in place of the iterator of IterBasedTrainLoop.

    Args:
        loader: the data loader.
        batches: its batch sampler.
        done: iterations that training has done. MMEngine's loop draws and discards as many batches when it resumes.
    """

    def __init__(self, loader: DataLoader, batches: SeededBatchSampler, done: int) -> None:
        self._loader, self._batches = loader, batches
        batches.across_epochs = True
        self._to_discard = done
        self._in_pass = 0  # batches of the current pass
        # Created with the first batch: before that, MMEngine's hooks set the sampler's epoch to 0.
        self._iterator: Iterator | None = None

    @property
    def position(self) -> Position:
        """The position after the last batch."""
        return Position(self._batches.epoch, self._batches.first + self._in_pass)

    def __iter__(self) -> EpochIterator:
        return self

    def __next__(self) -> Any:
        if self._to_discard:
            self._to_discard -= 1
            return None
        if self._iterator is None:
            self._begin(self._batches.epoch)
        try:
            batch = next(self._iterator)
        except StopIteration:
            self._begin(self._batches.epoch + 1)
            batch = next(self._iterator)
        self._in_pass += 1
        return batch

    def _begin(self, epoch: int) -> None:
        self._batches.set_epoch(epoch)
        self._in_pass = 0
        self._iterator = iter(self._loader)
