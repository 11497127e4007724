"""Training that is killed and resumed ends where it would have ended."""

from __future__ import annotations

import copy
import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from mmdet.datasets.samplers import MultiSourceSampler
from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader, Dataset

from ..registry import HOOKS
from .exact_resume_layout import Layout, batches_since_step, inexact_warning, reasons_not_exact, sampler_of, unsupported

_KEY = "gfl_plugin_exact_resume"
# What a data loader is made of, beside its data set and its batches.
_SETTINGS = (
    "num_workers", "collate_fn", "pin_memory", "timeout", "worker_init_fn", "multiprocessing_context", "generator",
    "prefetch_factor", "persistent_workers",
)  # fmt: skip
_DATA, _STEP = 0, 1  # which stream of random numbers


@dataclass(frozen=True)
class Position:
    """Where a training is in its data."""

    epoch: int  # from 0; in IterBasedTrainLoop the number of passes over the data that are complete
    batches: int  # of this epoch that are trained on


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Resumes a training at the batch after its checkpoint's, with the random numbers that it would have drawn.

    Random numbers are a function of the seed and the step, not of what ran before: each sample is loaded with numbers
    of its own (of seed, epoch, batch, place in the batch, process of the training), and each training step runs with
    numbers of its own. So no generator's state is saved, and the number of data loading workers does not matter.
    Batches that were trained on already are not loaded again.

    On the same machine, weights are then the same to the last bit as those of a training never interrupted. That holds
    for EpochBasedTrainLoop and IterBasedTrainLoop with

    - DefaultSampler, InfiniteSampler, MultiSourceSampler, MultiDataSampler, ClassAwareSampler, TrackImgSampler,
      PyTorch's SequentialSampler and DistributedSampler;
    - PyTorch's BatchSampler and MMDetection's AspectRatioBatchSampler, TrackAspectRatioBatchSampler and
      MultiDataAspectRatioBatchSampler, with or without ``drop_last``.

    A resume is not exact

    - if the batch size, the number of processes or samples, the samplers, the kind of train loop or
      ``accumulative_counts`` has changed;
    - if the checkpoint was written between two batches whose gradients are accumulated, or without this hook;
    - with GroupMultiSourceSampler and RandomSampler (they draw from global random numbers), CustomSampleSizeSampler
      (its order depends on all epochs before) and any other sampler or batch sampler, subclasses included;
    - with IterBasedTrainLoop in several processes whose epochs may differ in length (``round_up=False``,
      AspectRatioBatchSampler with ``drop_last``, MultiDataAspectRatioBatchSampler);
    - with CachedMosaic and CachedMixUp (they keep earlier samples) and BatchSyncRandomResize (it keeps an image size);
    - with data without indices, or another train loop.

    Training then goes on as with MMEngine alone, and one warning names the reasons: EpochBasedTrainLoop begins the
    checkpoint's epoch anew, IterBasedTrainLoop passes over as many batches as it has done iterations. Checkpoints
    written after that can be resumed exactly again.

    Not detected: other states outside of checkpoints, transforms with generators of their own, and GPU kernels that are
    not deterministic (``randomness=dict(deterministic=True)``).

    Args:
        trusted_samplers: names of your own sampler and batch sampler types whose order is a function of ``seed`` and
            epoch, such as a subclass of DefaultSampler.
    """

    priority = "HIGHEST"

    def __init__(self, trusted_samplers: Sequence[str] = ()) -> None:
        self._trusted_samplers = tuple(trusted_samplers)
        self._seed = 0
        self._resumed: dict | None = None  # what the hook stored in the checkpoint that is resumed
        self._layout: Layout | None = None
        self._position: Position | None = None  # None: the data loader is not supported
        self._batches: _SeededBatches | None = None
        self._steps: _EpochAfterEpoch | None = None  # of IterBasedTrainLoop

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        self._resumed = checkpoint.get(_KEY)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        stored = dict(seed=self._seed, position=None)
        if self._position is not None:
            stored.update(
                sampler_seed=getattr(self._batches.sampler, "seed", None),
                position=asdict(self._position),
                layout=asdict(self._layout),
                batches_since_step=batches_since_step(runner.optim_wrapper),
            )
        checkpoint[_KEY] = stored

    def before_train(self, runner: Runner) -> None:
        loop = runner.train_loop
        resumes = runner.iter > 0
        self._seed = self._resumed["seed"] if resumes and self._resumed else runner.seed
        no_support = unsupported(loop)
        if no_support is None:
            self._take_loader(runner, resumes)
        elif resumes:
            runner.logger.warning(inexact_warning(loop, [no_support]))

    def _take_loader(self, runner: Runner, resumes: bool) -> None:
        """Replace the train loop's data loader by one that begins at the position of the training."""
        loop, loader = runner.train_loop, runner.train_loop.dataloader
        self._layout = Layout.of(loop, loader, runner.optim_wrapper)
        self._position = self._resume(runner, loader) if resumes else Position(0, 0)
        self._batches = _SeededBatches(loader.batch_sampler, self._seed, get_rank(), self._position)
        settings = {name: getattr(loader, name) for name in _SETTINGS}
        loop.dataloader = DataLoader(_SeededData(loader.dataset), batch_sampler=self._batches, **settings)
        if isinstance(loop, IterBasedTrainLoop):
            self._steps = loop.dataloader_iterator = _EpochAfterEpoch(loop.dataloader, self._batches, loop.iter)

    def _resume(self, runner: Runner, loader: DataLoader) -> Position:
        """Take over the sampler's seed and find where to begin; warn if that is not where training stopped."""
        loop, sampler = runner.train_loop, sampler_of(loader)
        seed = (self._resumed or {}).get("sampler_seed")
        if seed is not None and hasattr(sampler, "seed"):
            sampler.seed = seed
        reasons = reasons_not_exact(self._resumed, self._layout, loop, runner.model, self._trusted_samplers)
        if not reasons:
            return Position(**self._resumed["position"])
        runner.logger.warning(inexact_warning(loop, reasons))
        return Position(loop.epoch, 0) if isinstance(loop, EpochBasedTrainLoop) else Position(0, loop.iter)

    def before_train_epoch(self, runner: Runner) -> None:
        if self._position is not None and isinstance(runner.train_loop, EpochBasedTrainLoop):
            self._batches.epoch = runner.epoch

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        seed_everything(derive_seed(self._seed, _STEP, runner.iter, get_rank()))

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        # Counted here and not by the batch sampler, which is ahead of training where workers load.
        if self._steps is not None:
            self._position = self._steps.position
        elif self._position is not None:
            self._position = Position(self._position.epoch, self._position.batches + 1)

    def after_train_epoch(self, runner: Runner) -> None:
        if self._position is not None and isinstance(runner.train_loop, EpochBasedTrainLoop):
            self._position = Position(runner.epoch + 1, 0)


def derive_seed(*numbers: int) -> int:
    """One number of 64 bits from several, each of which changes it."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and PyTorch's generators, without waiting for a GPU."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  (MMDetection's transforms draw from it)
    torch.manual_seed(seed)


class _SeededBatches:
    """A batch sampler whose indices carry their seeds, and which begins where training stopped.

    Args:
        inner: the batch sampler inside.
        seed: of the training.
        rank: of this process.
        start: where the first pass begins. If its epoch has fewer batches, `across_epochs` says what follows.
    """

    def __init__(self, inner: Any, seed: int, rank: int, start: Position) -> None:
        self.inner, self.seed, self.rank = _fresh(inner), seed, rank
        self.epoch, self.first = start.epoch, start.batches  # of the present pass; `first` is its first batch's number
        self.across_epochs = False  # True: batches that the epoch lacks are left out of the epochs that follow
        self._left_out = start.batches  # how many batches the next pass leaves out

    @property
    def sampler(self) -> Any:
        """The sampler inside, of which MMEngine's hooks set the epoch."""
        return getattr(self.inner, "sampler", None)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch here and in the sampler inside."""
        self.epoch = epoch
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.inner)

    def __iter__(self) -> Iterator[list[tuple[Any, int]]]:
        batches = self._begin()
        for number, batch in enumerate(batches, self.first):
            seeds = (derive_seed(self.seed, _DATA, self.epoch, number, place, self.rank) for place in itertools.count())
            yield list(zip(batch, seeds))

    def _begin(self) -> Iterator[Any]:
        """The batches of the pass without those that are left out."""
        while True:
            batches = iter(self.inner)
            self.first = sum(1 for _ in itertools.islice(batches, self._left_out))
            self._left_out -= self.first
            if not (self.across_epochs and self._left_out and self.first):
                self._left_out = 0
                return batches
            self.set_epoch(self.epoch + 1)


def _fresh(batch_sampler: Any) -> Any:
    """The batch sampler as if nobody had drawn from it; IterBasedTrainLoop has, where it has loading processes.

    Endless samplers go on where they were, and batch samplers by aspect ratio keep what they have drawn: with a bucket
    that is full already they would never yield from it.
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


class _SeededData(Dataset):
    """A data set that is asked with (index, seed); in everything else it is the one inside."""

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
        setattr(self._inner, name, value)  # hooks exchange pipelines so

    def __reduce__(self) -> tuple:
        return _SeededData, (self._inner,)


class _EpochAfterEpoch:
    """What IterBasedTrainLoop takes its batches from: pass after pass of a data loader."""

    def __init__(self, loader: DataLoader, batches: _SeededBatches, done: int) -> None:
        self._loader, self._batches = loader, batches
        batches.across_epochs = True
        self._not_used = done  # batches that the loop asks for only to pass them over: one per iteration done
        self._in_pass = 0  # batches of the present pass
        # Begun with the first batch: between here and there MMEngine's hooks set the sampler's epoch to 0.
        self._iterator: Iterator | None = None

    @property
    def position(self) -> Position:
        """The position after the last batch."""
        return Position(self._batches.epoch, self._batches.first + self._in_pass)

    def __iter__(self) -> _EpochAfterEpoch:
        return self

    def __next__(self) -> Any:
        if self._not_used:
            self._not_used -= 1
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
