"""Run by torchrun: two training steps with weights sharded over processes, against one process on the joined batch.

The first process prints the largest differences of losses, of weights and of the norm of gradients.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from mmengine.dist import all_reduce, get_rank, get_world_size, init_dist
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from mmengine.registry import MODEL_WRAPPERS, init_default_scope
from step_of_workers import alone, batch_of, build, shares
from torch import Tensor, nn
from torch.distributed.fsdp import FullOptimStateDictConfig, FullStateDictConfig, StateDictType

STEPS, CLIP = 2, 0.5  # the norm is about 10


def optimizer(model: nn.Module) -> OptimWrapper:
    sgd = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return OptimWrapper(sgd, clip_grad=dict(max_norm=CLIP))


def copies(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def norm_of_gradients() -> float:
    return float(MessageHub.get_current_instance().get_scalar("train/grad_norm").current())


def trained(model: nn.Module, items: list[dict]) -> tuple[list[dict], list[float]]:
    """Train, and return the losses of the steps and the norms of gradients before clipping."""
    wrapper, losses, norms = optimizer(model), [], []
    for _ in range(STEPS):
        losses.append({name: value.detach() for name, value in model.train_step(batch_of(items), wrapper).items()})
        norms.append(norm_of_gradients())
    return losses, norms


def beyond_rounding(one: Tensor, other: Tensor) -> Tensor:
    """Absolute differences, minus the largest rounding error of fp32 weights after these steps."""
    one, other = one.float(), other.float()  # batch norm's counter of batches is an integer
    spacing = torch.nextafter(one.abs(), torch.full_like(one, float("inf"))) - one.abs()
    return ((one - other).abs() - STEPS * spacing).clamp(min=0)


def main() -> None:
    init_dist("pytorch", backend="gloo")
    init_default_scope("mmdet")
    MessageHub.get_instance("steps")
    rank, workers = get_rank(), get_world_size()
    parts = shares("plain", workers)
    sharded = MODEL_WRAPPERS.build(dict(type="gfl_plugin.FullyShardedDataParallel", module=build(low_scores=False)))
    own = sum(p.numel() for p in sharded.parameters())
    sharded.set_state_dict_type(
        sharded,
        StateDictType.FULL_STATE_DICT,
        FullStateDictConfig(rank0_only=True, offload_to_cpu=True),
        FullOptimStateDictConfig(rank0_only=True, offload_to_cpu=True),
    )
    losses, norms = trained(sharded, parts[rank])
    for step in losses:
        for value in step.values():
            all_reduce(value, "mean")
    weights = copies(sharded)
    if rank == 0:
        single = build(low_scores=False)
        whole = sum(p.numel() for p in single.parameters())
        before = copies(single)
        with alone():
            expected, expected_norms = trained(single, sum(parts, []))
        after = copies(single)
        single.load_state_dict(weights, strict=True)  # the same names and shapes
        moved = max(float((after[name] - before[name]).abs().max()) for name in after)
        away = max(float(beyond_rounding(after[name], weights[name]).max()) for name in after)
        loss = max(abs(float(ours[k] / theirs[k]) - 1) for ours, theirs in zip(losses, expected) for k in theirs)
        norm = max(abs(ours / theirs - 1) for ours, theirs in zip(norms, expected_norms))
        print(f"sharded|{own / whole:.3f}|{loss:.3e}|{away / moved:.3e}|{norm:.3e}|{norms[0]:.2f}", flush=True)
    torch.distributed.barrier()  # the others wait for the first


if __name__ == "__main__":
    main()
