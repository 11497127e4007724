"""What the order of the batches in a training depends on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mmengine.dist import get_world_size
from mmengine.optim import OptimWrapperDict
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from torch.utils.data import DataLoader

LOOPS = (EpochBasedTrainLoop, IterBasedTrainLoop)  # supported train loops
# Settings of samplers that change their order.
_ORDER_SETTINGS = ("shuffle", "round_up", "drop_last", "source_ratio", "dataset_ratio", "num_sample_class")


@dataclass(frozen=True)
class Layout:
    """Everything but seeds that the batches of a training depend on, as plain values for the checkpoint."""

    loop: str  # type name of the train loop
    batch_size: int | list[int] | None  # per process; a list holds one size per dataset
    processes: int  # training processes, without data loading workers
    samples: int | None  # None: the dataset has no length
    sampler: str  # type name
    batch_sampler: str  # type name
    settings: dict[str, Any]  # of both samplers
    accumulative_counts: int  # batches per optimizer step

    @classmethod
    def of(cls, loop: EpochBasedTrainLoop | IterBasedTrainLoop, loader: DataLoader, optim_wrapper: Any) -> Layout:
        """Read the layout of a training.

        Args:
            loop: the train loop.
            loader: its data loader, which has a batch sampler.
            optim_wrapper: the optimizer wrapper.

        Returns:
            The layout.
        """
        sampler, batch_sampler = sampler_of(loader), loader.batch_sampler
        return cls(
            loop=next(kind.__name__ for kind in LOOPS if isinstance(loop, kind)),
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
    """Return the sampler that the batch sampler of a data loader draws from.

    Args:
        loader: the data loader.

    Returns:
        The sampler.
    """
    return getattr(loader.batch_sampler, "sampler", loader.sampler)


def batches_since_step(optim_wrapper: Any) -> int:
    """Count the batches whose gradients are accumulated and not yet used by an optimizer step.

    Args:
        optim_wrapper: an OptimWrapper, or an OptimWrapperDict.

    Returns:
        The largest count of all optimizer wrappers; 0 if gradients are not accumulated.
    """
    waiting = [one for one in _wrappers(optim_wrapper) if hasattr(one, "_inner_count") and not one.should_update()]
    return max((one._inner_count % one._accumulative_counts for one in waiting), default=0)


def _wrappers(optim_wrapper: Any) -> list[Any]:
    return list(optim_wrapper.values()) if isinstance(optim_wrapper, OptimWrapperDict) else [optim_wrapper]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value
