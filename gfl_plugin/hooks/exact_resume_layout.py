"""What an exact resume depends on, and the reasons why a resume is not exact."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
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
from mmengine.optim import OptimWrapperDict
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

_LOOPS = (EpochBasedTrainLoop, IterBasedTrainLoop)
_ENDLESS_SAMPLERS = (InfiniteSampler, MultiSourceSampler)
# Their order is a function of seed and epoch. Exact types: a subclass may draw in another way.
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
    CustomSampleSizeSampler: "the order of CustomSampleSizeSampler depends on all epochs before",
}
_KNOWN_BATCH_SAMPLERS = (
    BatchSampler,
    AspectRatioBatchSampler,
    TrackAspectRatioBatchSampler,
    MultiDataAspectRatioBatchSampler,
)
# Settings of samplers that change their order.
_ORDER_SETTINGS = ("shuffle", "round_up", "drop_last", "source_ratio", "dataset_ratio", "num_sample_class")
# Where data sets and transforms keep data sets and transforms.
_NESTED = ("dataset", "datasets", "pipeline", "transforms", "branch_pipelines", "pre_pipeline", "pre_transform")


@dataclass(frozen=True)
class Layout:
    """What the batches of a training depend on beside its seeds. All values are plain, for the checkpoint."""

    loop: str  # name of MMEngine's train loop
    batch_size: int | list[int] | None  # per process; a list: of each data set
    processes: int  # of the training, not of data loading
    samples: int | None  # None: the data set has no length
    sampler: str  # name of its type
    batch_sampler: str  # name of its type
    settings: dict[str, Any]  # of both samplers
    accumulative_counts: int  # batches per optimizer step

    @classmethod
    def of(cls, loop: EpochBasedTrainLoop | IterBasedTrainLoop, loader: DataLoader, optim_wrapper: Any) -> Layout:
        """The layout of a training whose data loader has a batch sampler."""
        sampler, batch_sampler = sampler_of(loader), loader.batch_sampler
        return cls(
            loop=next(kind.__name__ for kind in _LOOPS if isinstance(loop, kind)),
            batch_size=_plain(getattr(batch_sampler, "batch_size", None)),
            processes=get_world_size(),
            samples=len(loader.dataset) if hasattr(loader.dataset, "__len__") else None,
            sampler=type(sampler).__name__,
            batch_sampler=type(batch_sampler).__name__,
            settings={
                f"{name} of the {what}": _plain(getattr(owner, name))
                for what, owner in (("sampler", sampler), ("batch sampler", batch_sampler))
                for name in _ORDER_SETTINGS
                if hasattr(owner, name)
            },
            accumulative_counts=max(getattr(one, "_accumulative_counts", 1) for one in _wrappers(optim_wrapper)),
        )


def sampler_of(loader: DataLoader) -> Any:
    """The sampler that the data loader's batch sampler draws from."""
    return getattr(loader.batch_sampler, "sampler", loader.sampler)


def batches_since_step(optim_wrapper: Any) -> int:
    """The number of batches whose gradients are accumulated and not yet used by an optimizer step."""
    waiting = [one for one in _wrappers(optim_wrapper) if hasattr(one, "_inner_count") and not one.should_update()]
    return max((one._inner_count % one._accumulative_counts for one in waiting), default=0)


# ---------------------------------------------------------------------------------------------------
# Reasons, and the warning that names them
# ---------------------------------------------------------------------------------------------------


def unsupported(loop: Any) -> str | None:
    """Why the batches of a train loop cannot be chosen at all; None where they can."""
    loader = loop.dataloader
    if not isinstance(loop, _LOOPS):
        return f"the train loop {type(loop).__name__} is neither EpochBasedTrainLoop nor IterBasedTrainLoop"
    if not isinstance(loader, DataLoader):
        return f"the data loader {type(loader).__name__} is not a torch.utils.data.DataLoader"
    if isinstance(loader.dataset, IterableDataset) or loader.batch_sampler is None:
        return "the data loader has no batch sampler, or its data set has no indices"
    return None


def reasons_not_exact(
    stored: dict[str, Any] | None, present: Layout, loop: Any, model: nn.Module, trusted_samplers: Sequence[str] = ()
) -> list[str]:
    """Why a training that resumes cannot go on exactly as if it had never been interrupted.

    Args:
        stored: what ExactResumeHook wrote to the checkpoint; None if it was written without the hook.
        present: the layout of the training that resumes.
        loop: its train loop, with epoch and iteration of the checkpoint.
        model: the model, wrapped or not.
        trusted_samplers: names of further sampler types whose order is a function of seed and epoch.
    """
    return [
        *checkpoint_reasons(stored, present, loop.epoch),
        *order_reasons(loop, trusted_samplers),
        *state_reasons(loop.dataloader.dataset, model),
    ]


def checkpoint_reasons(stored: dict[str, Any] | None, present: Layout, epoch: int) -> list[str]:
    """Why the checkpoint does not fit, or does not hold enough."""
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
    """What differs between a checkpoint's layout and the present one.

    Args:
        stored: fields of a `Layout`; a field that it lacks is not compared.
        present: the layout of the training that resumes.
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
    """Why the order of the samples is not a function of seed and epoch."""
    sampler, batch_sampler = sampler_of(loop.dataloader), loop.dataloader.batch_sampler
    if not _is_one_of(batch_sampler, _KNOWN_BATCH_SAMPLERS, trusted_samplers):
        return [f"the batch sampler {type(batch_sampler).__name__} is not known to ExactResumeHook"]
    if type(sampler) in _INEXACT_SAMPLERS:
        return [_INEXACT_SAMPLERS[type(sampler)]]
    if not _is_one_of(sampler, _KNOWN_SAMPLERS, trusted_samplers):
        return [f"the sampler {type(sampler).__name__} is not known to ExactResumeHook"]
    if get_world_size() > 1 and isinstance(loop, IterBasedTrainLoop) and _uneven(sampler, batch_sampler):
        # The checkpoint holds the position of the first process only.
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
    """Which transforms and modules keep a state that no checkpoint holds."""
    kept = {type(one).__name__: "earlier samples" for one in _nested(dataset) if _has_cache(one)}
    resizes = (one for one in model.modules() if isinstance(one, BatchSyncRandomResize))
    kept.update({type(one).__name__: "an image size" for one in resizes})
    return [f"{name} keeps {what} outside the checkpoint" for name, what in kept.items()]


def _has_cache(transform: Any) -> bool:
    return hasattr(transform, "results_cache") and getattr(transform, "use_cached", True)


def _nested(root: Any) -> Iterator[Any]:
    """A data set, its inner data sets and all their transforms."""
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


def _wrappers(optim_wrapper: Any) -> list[Any]:
    return list(optim_wrapper.values()) if isinstance(optim_wrapper, OptimWrapperDict) else [optim_wrapper]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value


def inexact_warning(loop: Any, reasons: list[str]) -> str:
    """What to log when a training resumes, but not exactly."""
    if isinstance(loop, EpochBasedTrainLoop):
        then = f"epoch {loop.epoch + 1} begins at its first batch"
    else:
        then = f"{loop.iter} batches are passed over"
    return f"the resume is not exact: {'; '.join(reasons)}. Training goes on as with MMEngine alone: {then}"
