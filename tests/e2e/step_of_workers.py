"""Run by torchrun: one training step in several processes against one process on the joined batch.

The first process prints one line per case: its name and the largest differences of losses and gradients.
"""

from __future__ import annotations

import contextlib
import copy
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from mmdet.registry import MODELS
from mmengine.dataset import pseudo_collate
from mmengine.dist import all_reduce, get_rank, get_world_size, init_dist
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from runs import SIDE, a_sample, model_config
from torch import nn

EVERYWHERE = torch.tensor([[-1000.0, -1000.0, 1000.0 + SIDE, 1000.0 + SIDE]])
CASES = ("plain", "one without objects", "one all ignored", "no objects at all")
IMAGES = 2  # per process


def build(low_scores: bool) -> nn.Module:
    """The demo's detector with fixed batch norm statistics, because those of a batch and of its parts differ."""
    config = model_config()
    config["backbone"]["norm_eval"] = True
    config["train_cfg"]["assigner"]["ignore_iof_thr"] = 0.5
    torch.manual_seed(0)
    model = MODELS.build(config)
    model.init_weights()
    if not low_scores:  # scores as in training; the test explains the effect of low scores
        nn.init.constant_(model.bbox_head.gfl_cls.bias, -0.5)
    return model.train()


def shares(case: str, workers: int) -> list[list[dict]]:
    """The samples of each process."""
    every = []
    for rank in range(workers):
        own = [a_sample(10 * rank + number, objects=3 + rank + number) for number in range(IMAGES)]
        for item in own:
            sample = item["data_samples"]
            empty = case == "no objects at all" or (case == "one without objects" and rank == workers - 1)
            if empty:
                nothing = torch.zeros(0, dtype=torch.int64)
                sample.gt_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=nothing)
            ignored = EVERYWHERE if case == "one all ignored" and rank == workers - 1 else torch.zeros(0, 4)
            sample.ignored_instances = InstanceData(bboxes=ignored)
        every.append(own)
    return every


def batch_of(items: list[dict]) -> dict:
    """A batch of copied samples, as from a data loader."""
    return pseudo_collate(copy.deepcopy(items))


def step(model: nn.Module, items: list[dict]) -> dict[str, torch.Tensor]:
    """Losses of a step, summed over levels; the gradients are stored in the parameters."""
    bare = model.module if isinstance(model, MMDistributedDataParallel) else model
    losses = model(**bare.data_preprocessor(batch_of(items), True), mode="loss")
    total, values = bare.parse_losses(losses)
    total.backward()
    return {name: value.detach() for name, value in values.items()}


def gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Compute without sums over processes, as in a single process."""
    from gfl_plugin.heads import gfl_head

    plain, gfl_head.reduce_mean = gfl_head.reduce_mean, lambda value: value
    try:
        yield
    finally:
        gfl_head.reduce_mean = plain


def main() -> None:
    init_dist("pytorch", backend="gloo")
    init_default_scope("mmdet")
    rank, workers = get_rank(), get_world_size()
    for case in CASES:
        for low_scores in (False, True):
            parts = shares(case, workers)
            parallel = MMDistributedDataParallel(build(low_scores), broadcast_buffers=False)
            losses = step(parallel, parts[rank])
            for value in losses.values():
                all_reduce(value, "mean")
            if rank == 0:
                single = build(low_scores)
                with alone():
                    expected = step(single, sum(parts, []))
                ours, theirs = gradients(parallel.module), gradients(single)
                assert ours.keys() == theirs.keys()
                largest = max(float(value.abs().max()) for value in theirs.values())
                gradient = max(float((ours[name] - theirs[name]).abs().max()) for name in theirs) / largest
                loss = max(abs(float(losses[name] / expected[name]) - 1) for name in expected if expected[name] != 0)
                scores = "low" if low_scores else "usual"
                print(f"case|{case}|{scores}|{loss:.3e}|{gradient:.3e}|{float(expected['loss']):.4f}", flush=True)
    torch.distributed.barrier()  # the others wait for the first


if __name__ == "__main__":
    main()
