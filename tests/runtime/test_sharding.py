"""Sharding in one process; tests/e2e/test_workers.py tests several processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from mmengine.registry import STRATEGIES, init_default_scope
from runs import a_sample, model_config
from torch import Tensor, nn

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "demo"
CLIP = 0.5  # far below the norm of the gradients


@pytest.fixture
def process_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process group with one process."""
    monkeypatch.setenv("LOCAL_RANK", "0")
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def detector() -> nn.Module:
    torch.manual_seed(0)
    model = MODELS.build(model_config())
    model.init_weights()  # otherwise the strategy would do it
    return model.train()


def step(model: nn.Module, optim_wrapper: OptimWrapper) -> dict[str, float]:
    """Make a training step and return its losses."""
    batch = pseudo_collate([a_sample(seed) for seed in range(2)])
    return {name: float(value.detach()) for name, value in model.train_step(batch, optim_wrapper).items()}


def settings() -> dict:
    return dict(optimizer=dict(type="SGD", lr=0.1, momentum=0.9), clip_grad=dict(max_norm=CLIP))


def copies(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in state.items()}


def test_a_step_of_the_fsdp_config_is_the_step_without_it(process_group: None) -> None:
    """Losses, updated weights, and names and shapes of weights are equal, also for 0-dim parameters."""
    init_default_scope("mmdet")
    MessageHub.get_instance("sharding")
    strategy = STRATEGIES.build(dict(Config.fromfile(CONFIGS / "gfl_r18_demo_fsdp.py").strategy))
    strategy.prepare(detector(), optim_wrapper=dict(type="OptimWrapper", **settings()))
    assert any(type(part).__name__ == "FullyShardedDataParallel" for part in strategy.model.modules())
    plain = detector()
    before = copies(plain.state_dict())
    sgd = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9)
    expected = step(plain, OptimWrapper(sgd, clip_grad=dict(max_norm=CLIP)))
    assert step(strategy.model, strategy.optim_wrapper) == pytest.approx(expected, rel=1e-6)
    after, found = plain.state_dict(), copies(strategy.model_state_dict())
    assert {name: value.shape for name, value in found.items()} == {name: value.shape for name, value in after.items()}
    moved = max(float((after[name] - before[name]).abs().max()) for name in after)
    assert max(float((after[name] - found[name]).abs().max()) for name in after) < 1e-5 * moved
    detector().load_state_dict(found, strict=True)


def test_deepspeed_clips_once_and_at_the_norm_of_the_base_config() -> None:
    """DeepSpeed shards gradients, so its own clipping replaces that of the optimizer wrapper."""
    cfg, base = (Config.fromfile(CONFIGS / f"gfl_r18_demo{name}.py") for name in ("_deepspeed", ""))
    assert cfg.optim_wrapper.get("clip_grad") is None
    assert cfg.strategy.gradient_clipping == base.optim_wrapper.clip_grad.max_norm
    assert cfg.optim_wrapper.optimizer == base.optim_wrapper.optimizer


def test_the_deepspeed_configs_strategy_builds() -> None:
    pytest.importorskip("deepspeed", reason="DeepSpeed is not installed")
    strategy = STRATEGIES.build(dict(Config.fromfile(CONFIGS / "gfl_r18_demo_deepspeed.py").strategy))
    assert strategy.config["zero_optimization"] == {"stage": 3}


@pytest.mark.parametrize("kind", ["local", dict(state_dict_type="LOCAL_STATE_DICT")])
def test_sharded_checkpoints_that_only_fsdp_can_load_are_refused(kind: object) -> None:
    with pytest.raises(ValueError, match="LOCAL_STATE_DICT.*write state_dict_cfg='full'"):
        STRATEGIES.build(dict(type="gfl_plugin.FSDPStrategy", state_dict_cfg=kind))
