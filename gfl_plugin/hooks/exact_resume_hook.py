"""A hook that makes interrupted and resumed trainings equal to uninterrupted ones, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from ..registry import HOOKS
from ..runtime.seeds import derive_seed, seed_everything
from .exact_resume_layout import Layout, batches_since_step, sampler_of
from .exact_resume_loading import STEP_STREAM, EpochIterator, Position, SeededBatchSampler, seeded_loader
from .exact_resume_reasons import inexact_warning, reasons_not_exact, unsupported

_KEY = "gfl_plugin_exact_resume"


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Resumes a training at the batch after its checkpoint, with the random numbers of an uninterrupted training.

    Random numbers are a function of the seed and the step, not of earlier random numbers: each sample is loaded with a
    seed of its own (derived from seed, epoch, batch, position in the batch and rank), and each training step runs with
    a seed of its own. Therefore no generator state is saved, and the number of data loading workers does not matter.
    Batches that training has already used are not loaded again.

    On the same machine, weights are then equal, bit for bit, to those of an uninterrupted training. This holds for
    EpochBasedTrainLoop and IterBasedTrainLoop with

    - DefaultSampler, InfiniteSampler, MultiSourceSampler, MultiDataSampler, ClassAwareSampler, TrackImgSampler,
      PyTorch's SequentialSampler and DistributedSampler;
    - PyTorch's BatchSampler and MMDetection's AspectRatioBatchSampler, TrackAspectRatioBatchSampler and
      MultiDataAspectRatioBatchSampler, with or without ``drop_last``.

    A resume is not exact

    - if the batch size, the number of processes or samples, the samplers, the type of the train loop or
      ``accumulative_counts`` has changed;
    - if the checkpoint was written between two batches of one gradient accumulation, or without this hook;
    - with GroupMultiSourceSampler and RandomSampler (they draw from global random numbers), CustomSampleSizeSampler
      (its order depends on all earlier epochs) and any other sampler or batch sampler, subclasses included;
    - with IterBasedTrainLoop in several processes whose epochs may differ in length (``round_up=False``,
      AspectRatioBatchSampler with ``drop_last``, MultiDataAspectRatioBatchSampler);
    - with CachedMosaic and CachedMixUp (they keep earlier samples) and BatchSyncRandomResize (it keeps an image size);
    - with datasets without indices, or another train loop.

    Training then continues as with MMEngine alone, and one warning lists the reasons: EpochBasedTrainLoop restarts the
    epoch of the checkpoint, IterBasedTrainLoop skips as many batches as it has done iterations. Checkpoints written
    after that can be resumed exactly again.

    Not detected: other state outside checkpoints, transforms with generators of their own, and GPU kernels that are
    not deterministic (set ``randomness=dict(deterministic=True)``).

    Args:
        trusted_samplers: names of your own sampler and batch sampler types whose order is a function of ``seed`` and
            epoch, such as a subclass of DefaultSampler.
    """

    priority = "HIGHEST"

    def __init__(self, trusted_samplers: Sequence[str] = ()) -> None:
        self._trusted_samplers = tuple(trusted_samplers)
        self._seed = 0
        self._resumed: dict | None = None  # what the hook stored in the checkpoint that training resumes from
        self._layout: Layout | None = None
        self._position: Position | None = None  # None: the data loader is not supported
        self._batches: SeededBatchSampler | None = None
        self._epochs: EpochIterator | None = None  # for IterBasedTrainLoop

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
            self._replace_loader(runner, resumes)
        elif resumes:
            runner.logger.warning(inexact_warning(loop, [no_support]))

    def _replace_loader(self, runner: Runner, resumes: bool) -> None:
        """Replace the data loader of the train loop by one that starts at the position of the training."""
        loop, loader = runner.train_loop, runner.train_loop.dataloader
        self._layout = Layout.of(loop, loader, runner.optim_wrapper)
        self._position = self._resume(runner, loader) if resumes else Position(0, 0)
        self._batches = SeededBatchSampler(loader.batch_sampler, self._seed, get_rank(), self._position)
        loop.dataloader = seeded_loader(loader, self._batches)
        if isinstance(loop, IterBasedTrainLoop):
            self._epochs = loop.dataloader_iterator = EpochIterator(loop.dataloader, self._batches, loop.iter)

    def _resume(self, runner: Runner, loader: DataLoader) -> Position:
        """Restore the seed of the sampler and find the start; warn if that is not where training stopped."""
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
        seed_everything(derive_seed(self._seed, STEP_STREAM, runner.iter, get_rank()))

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        # Counted here and not in the batch sampler, which is ahead of training where workers load.
        if self._epochs is not None:
            self._position = self._epochs.position
        elif self._position is not None:
            self._position = Position(self._position.epoch, self._position.batches + 1)

    def after_train_epoch(self, runner: Runner) -> None:
        if self._position is not None and isinstance(runner.train_loop, EpochBasedTrainLoop):
            self._position = Position(runner.epoch + 1, 0)
