"""With data of unknown order, a run resumes as without the hook, with one warning."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import gfl_plugin  # noqa: F401  # isort: skip  (must precede mmdet without compiled ops)
import pytest
from hooks.recorded_training import (
    EPOCHS,
    HOOK,
    STEPS,
    Recorder,
    Samples,
    Sources,
    Stream,
    Training,
    assert_as_without_hook,
    batches,
    plain_batches,
    same,
)
from mmdet.datasets import MultiImageMixDataset
from mmdet.datasets.samplers import (
    CustomSampleSizeSampler,
    GroupMultiSourceSampler,
)
from mmdet.datasets.transforms import CachedMixUp, CachedMosaic
from mmdet.models import BatchSyncRandomResize
from mmengine.dataset import Compose, DefaultSampler, RepeatDataset, pseudo_collate
from torch import nn
from torch.utils.data import BatchSampler, ConcatDataset, DataLoader, SequentialSampler


class OwnSampler(DefaultSampler):
    """A user's sampler."""


class OwnBatchSampler:
    """A user's batch sampler, without a batch size; some batches are not lists."""

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
def test_data_of_unknown_order(tmp_path: Path, loader: Callable, reason: str, loop: str) -> None:
    length = 3 if loop == EPOCHS else 9
    whole = Training(tmp_path / "whole", loader(), loop, length)
    assert_as_without_hook(tmp_path, loader, loop, length, whole.checkpoint(4), reason)


@pytest.mark.parametrize("loop", [EPOCHS, STEPS])
def test_a_sampler_in_trusted_samplers_is_resumed_exactly(tmp_path: Path, loop: str) -> None:
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
    """The batches after a resume are not defined, but training continues to its end, with a warning."""
    whole = Training(tmp_path / "whole", loader(), STEPS, 7)
    resumed = Training(tmp_path / "resumed", loader(), STEPS, 7, whole.checkpoint(4))
    assert len(resumed.seen) == 3
    assert len(resumed.log.inexact()) == 1 and reason in resumed.log.inexact()[0]


def cached(kind: type) -> Samples:
    data = Samples()
    data.pipeline = Compose([])
    data.pipeline.transforms = [SimpleNamespace(transforms=[[kind(img_scale=(8, 8))]])]  # nested as in RandomChoice
    return data


def mixing(kind: type) -> MultiImageMixDataset:
    data = MultiImageMixDataset.__new__(MultiImageMixDataset)
    data.dataset, data.pipeline = Samples(), [kind(img_scale=(8, 8))]
    return data


def test_a_transform_that_refers_to_its_data_set(tmp_path: Path) -> None:
    """The search for caches terminates if data sets and transforms refer to each other."""

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


def test_an_image_size_that_is_kept_for_several_batches(tmp_path: Path) -> None:
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
def test_no_warning_before_a_resume(tmp_path: Path, loader: Callable) -> None:
    assert Training(tmp_path / "whole", loader()).log.inexact() == []
