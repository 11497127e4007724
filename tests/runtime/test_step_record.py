"""A batch that is recorded as plain values and restored gives the model the same input."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from mmdet.datasets.transforms import MultiBranch
from mmdet.registry import MODELS
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.dataset import pseudo_collate
from runs import SIDE, a_sample, samples

from gfl_plugin.runtime.plain_batch import batch_of, plain_batch

BRANCHES = ["sup", "unsup_teacher", "unsup_student"]
PREPROCESSOR = dict(type="mmdet.DetDataPreprocessor", mean=[100.0] * 3, std=[50.0] * 3, pad_size_divisor=32)
MULTI_BRANCH = dict(type="mmdet.MultiBranchDataPreprocessor", data_preprocessor=PREPROCESSOR)


def branched(seed: int, branches: list[str]) -> dict:
    """One image from a semi-supervised pipeline of MMDetection, with None in the branches of other images."""
    item = a_sample(seed)
    sample = item["data_samples"]
    results = dict(
        img=item["inputs"].permute(1, 2, 0).numpy(),
        gt_bboxes=HorizontalBoxes(sample.gt_instances.bboxes),
        gt_bboxes_labels=sample.gt_instances.labels.numpy(),
        **sample.metainfo,
    )
    pack = dict(type="mmdet.PackDetInputs", meta_keys=("img_id", "img_path", "img_shape", "ori_shape"))
    return MultiBranch(BRANCHES, **dict.fromkeys(branches, pack))(results)


def multi_branch_batch() -> dict:
    return pseudo_collate([branched(0, BRANCHES[:1]), branched(1, BRANCHES[1:]), branched(2, BRANCHES[1:])])


def written_and_read(plain: dict) -> dict:
    file = io.BytesIO()
    torch.save(plain, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def assert_same(one: Any, other: Any) -> None:
    """Check that nested dicts and lists have equal tensors, samples and values."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for left, right in zip(one, other):
            assert_same(left, right)
    elif hasattr(one, "metainfo"):
        assert one.metainfo == other.metainfo
        assert_same(dict(one.gt_instances.items()), dict(other.gt_instances.items()))
    else:
        assert type(one) is type(other)
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


@pytest.mark.parametrize("several", [False, True], ids=["one branch", "multi-branch"])
def test_a_recorded_batch_gives_the_same_model_input(several: bool) -> None:
    preprocessor = MODELS.build(MULTI_BRANCH if several else PREPROCESSOR)

    def batch() -> dict:
        return multi_branch_batch() if several else pseudo_collate(samples(1))

    again = batch_of(written_and_read(plain_batch(batch())))
    assert_same(preprocessor(again, True), preprocessor(batch(), True))


def test_a_batch_that_the_preprocessor_has_changed_can_be_recorded() -> None:
    """MultiBranchDataPreprocessor removes None from the batch in place."""
    batch = multi_branch_batch()
    preprocessor = MODELS.build(MULTI_BRANCH)
    expected = preprocessor(batch, True)
    assert_same(preprocessor(batch_of(plain_batch(batch)), True), expected)


def test_images_of_other_branches_keep_their_places() -> None:
    plain = plain_batch(multi_branch_batch())
    for part in (*plain.values(), *batch_of(plain).values()):
        assert {branch: [entry is None for entry in entries] for branch, entries in part.items()} == {
            "sup": [False, True, True],
            "unsup_teacher": [True, False, False],
            "unsup_student": [True, False, False],
        }


def test_batches_without_samples_or_ground_truths() -> None:
    batch = pseudo_collate(samples(1))
    for sample in batch["data_samples"]:
        del sample.gt_instances
    again = batch_of(plain_batch(batch))
    assert not any("gt_instances" in sample for sample in again["data_samples"])
    again = batch_of(plain_batch(dict(inputs=torch.ones(2, 3, SIDE, SIDE), data_samples=None)))
    assert again["data_samples"] is None
    assert torch.equal(torch.stack(again["inputs"]), torch.ones(2, 3, SIDE, SIDE))


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (None, "the batch is a NoneType"),
        ((torch.ones(1), []), "the batch is a tuple"),
        (dict(img=[]), r"the batch is a dict of \['img'\]"),
        (dict(inputs=5, data_samples=[]), "inputs of the batch is a int"),
        (dict(inputs=dict(sup=5)), "inputs.sup of the batch is a int"),
        (dict(inputs=[Path()], data_samples=[]), "inputs of the batch hold a .*Path"),
        (dict(inputs=[], data_samples=5), "data_samples of the batch is a int"),
        (dict(inputs=[], data_samples=[dict(boxes=[])]), "data_samples of the batch hold a dict"),
    ],
)
def test_other_batches_are_named_in_the_error(batch: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plain_batch(batch)
