"""Reasons why a resume is not exact, and the warning that lists them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from mmdet.datasets import AspectRatioBatchSampler
from mmdet.datasets.samplers import (
    ClassAwareSampler,
    CustomSampleSizeSampler,
    GroupMultiSourceSampler,
    MultiDataAspectRatioBatchSampler,
    MultiDataSampler,
    MultiSourceSampler,
    TrackAspectRatioBatchSampler,
    TrackImgSampler,
)
from mmdet.models import BatchSyncRandomResize
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.dist import get_world_size
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from torch import nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
)

from .exact_resume_layout import LOOPS, Layout, sampler_of

_ENDLESS_SAMPLERS = (InfiniteSampler, MultiSourceSampler)
# Samplers whose order is a function of seed and epoch. Exact types, since a subclass may draw differently.
_KNOWN_SAMPLERS = (
    *_ENDLESS_SAMPLERS,
    DefaultSampler,
    ClassAwareSampler,
    MultiDataSampler,
    TrackImgSampler,
    SequentialSampler,
    DistributedSampler,
)
_INEXACT_SAMPLERS = {
    RandomSampler: "RandomSampler draws its order from global random numbers",
    GroupMultiSourceSampler: "GroupMultiSourceSampler draws its order from global random numbers",
    CustomSampleSizeSampler: "the order of CustomSampleSizeSampler depends on all earlier epochs",
}
_KNOWN_BATCH_SAMPLERS = (
    BatchSampler,
    AspectRatioBatchSampler,
    TrackAspectRatioBatchSampler,
    MultiDataAspectRatioBatchSampler,
)
# Attributes in which datasets and transforms hold inner datasets and transforms.
_NESTED = ("dataset", "datasets", "pipeline", "transforms", "branch_pipelines", "pre_pipeline", "pre_transform")


def unsupported(loop: Any) -> str | None:
    """Say why the batches of a train loop cannot be chosen at all.

    Args:
        loop: the train loop.

    Returns:
        The reason; None if they can be chosen.
    """
    loader = loop.dataloader
    if not isinstance(loop, LOOPS):
        return f"the train loop {type(loop).__name__} is neither EpochBasedTrainLoop nor IterBasedTrainLoop"
    if not isinstance(loader, DataLoader):
        return f"the data loader {type(loader).__name__} is not a torch.utils.data.DataLoader"
    if isinstance(loader.dataset, IterableDataset) or loader.batch_sampler is None:
        return "the data loader has no batch sampler, or its dataset has no indices"
    return None


def reasons_not_exact(
    stored: dict[str, Any] | None, present: Layout, loop: Any, model: nn.Module, trusted_samplers: Sequence[str] = ()
) -> list[str]:
    """List why a resumed training is not equal to an uninterrupted one.

    Args:
        stored: what ExactResumeHook wrote to the checkpoint; None if it was written without the hook.
        present: the layout of the training that resumes.
        loop: its train loop, with epoch and iteration of the checkpoint.
        model: the model, wrapped or not.
        trusted_samplers: names of further sampler types whose order is a function of seed and epoch.

    Returns:
        One phrase per reason; [] if the resume is exact.
    """
    return [
        *checkpoint_reasons(stored, present, loop.epoch),
        *order_reasons(loop, trusted_samplers),
        *state_reasons(loop.dataloader.dataset, model),
    ]


def checkpoint_reasons(stored: dict[str, Any] | None, present: Layout, epoch: int) -> list[str]:
    """List what the checkpoint lacks, and what in it differs from this training.

    Args:
        stored: see :func:`reasons_not_exact`.
        present: the layout of the training that resumes.
        epoch: of the checkpoint.

    Returns:
        One phrase per reason.
    """
    if stored is None:
        return ["the checkpoint was written without ExactResumeHook"]
    if stored.get("position") is None:
        return ["the checkpoint holds no position in the data (an older version of ExactResumeHook wrote it)"]
    reasons = changes(stored["layout"], present)
    if count := stored["batches_since_step"]:
        reasons.append(f"the gradients accumulated over the last {count} batches are not in the checkpoint")
    within = stored["position"]["epoch"]
    if not reasons and present.loop == EpochBasedTrainLoop.__name__ and within != epoch:
        reasons.append(f"the checkpoint is of epoch {epoch + 1}, but its position in the data is in epoch {within + 1}")
    return reasons


def changes(stored: dict[str, Any], present: Layout) -> list[str]:
    """List the differences between the layout in a checkpoint and the present one.

    Args:
        stored: fields of a `Layout`; missing fields are not compared.
        present: the layout of the training that resumes.

    Returns:
        One phrase per difference, with both values.
    """
    old = {**stored, **stored.get("settings", {})}
    new = {**asdict(present), **present.settings}
    names = dict(
        loop="the train loop",
        batch_size="the batch size",
        processes="the number of processes",
        samples="the number of samples",
        sampler="the sampler",
        batch_sampler="the batch sampler",
    )
    return [
        f"{names.get(key, key)} was {old[key]} and is {value}"
        for key, value in new.items()
        if key != "settings" and key in old and old[key] != value
    ]


def order_reasons(loop: Any, trusted_samplers: Sequence[str] = ()) -> list[str]:
    """List why the order of the samples is not a function of seed and epoch.

    Args:
        loop: the train loop.
        trusted_samplers: see :func:`reasons_not_exact`.

    Returns:
        One phrase per reason.
    """
    sampler, batch_sampler = sampler_of(loop.dataloader), loop.dataloader.batch_sampler
    if not _is_one_of(batch_sampler, _KNOWN_BATCH_SAMPLERS, trusted_samplers):
        return [f"the batch sampler {type(batch_sampler).__name__} is not known to ExactResumeHook"]
    if type(sampler) in _INEXACT_SAMPLERS:
        return [_INEXACT_SAMPLERS[type(sampler)]]
    if not _is_one_of(sampler, _KNOWN_SAMPLERS, trusted_samplers):
        return [f"the sampler {type(sampler).__name__} is not known to ExactResumeHook"]
    if get_world_size() > 1 and isinstance(loop, IterBasedTrainLoop) and _uneven(sampler, batch_sampler):
        # The checkpoint holds the position of process 0 only.
        return ["the number of batches per epoch may differ between processes"]
    return []


def _is_one_of(sampler: Any, known: tuple[type, ...], trusted: Sequence[str]) -> bool:
    return type(sampler) in known or type(sampler).__name__ in trusted


def _uneven(sampler: Any, batch_sampler: Any) -> bool:
    if isinstance(sampler, _ENDLESS_SAMPLERS):
        return False
    by_shape = isinstance(batch_sampler, AspectRatioBatchSampler) and batch_sampler.drop_last
    by_source = isinstance(batch_sampler, MultiDataAspectRatioBatchSampler)
    return by_shape or by_source or not getattr(sampler, "round_up", True)


def state_reasons(dataset: Any, model: nn.Module) -> list[str]:
    """List transforms and modules with state that checkpoints do not hold.

    Args:
        dataset: the training set, whose transforms and inner datasets are searched.
        model: whose modules are searched.

    Returns:
        One phrase per type.
    """
    kept = {type(one).__name__: "earlier samples" for one in _nested(dataset) if _has_cache(one)}
    resizes = (one for one in model.modules() if isinstance(one, BatchSyncRandomResize))
    kept.update({type(one).__name__: "an image size" for one in resizes})
    return [f"{name} keeps {what} outside the checkpoint" for name, what in kept.items()]


def _has_cache(transform: Any) -> bool:
    """Whether a transform keeps earlier samples, as CachedMosaic and CachedMixUp do."""
    return hasattr(transform, "results_cache") and getattr(transform, "use_cached", True)


def _nested(root: Any) -> Iterator[Any]:
    """A dataset, its inner datasets and all their transforms."""
    waiting, seen = [root], set()
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, (list, tuple)):
            waiting.extend(item)
        elif hasattr(item, "__dict__") and id(item) not in seen:
            seen.add(id(item))
            yield item
            waiting.extend(getattr(item, name, None) for name in _NESTED)


def inexact_warning(loop: Any, reasons: list[str]) -> str:
    """Write the warning for a resume that is not exact.

    Args:
        loop: the train loop.
        reasons: why the resume is not exact.

    Returns:
        The message.
    """
    if isinstance(loop, EpochBasedTrainLoop):
        then = f"epoch {loop.epoch + 1} begins at its first batch"
    else:
        then = f"{loop.iter} batches are skipped"
    return f"the resume is not exact: {'; '.join(reasons)}. Training continues as with MMEngine alone: {then}"
