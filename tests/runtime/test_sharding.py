"""What of sharding one process can show; several are in tests/e2e/test_workers.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import STRATEGIES

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "demo"


def test_the_fsdp_configs_strategy_builds() -> None:
    strategy = STRATEGIES.build(dict(Config.fromfile(CONFIGS / "gfl_r18_demo_fsdp.py").strategy))
    assert strategy.model_wrapper == {"type": "gfl_plugin.FullyShardedDataParallel"}


def test_deepspeed_clips_in_place_of_the_optimizer_wrapper() -> None:
    cfg = Config.fromfile(CONFIGS / "gfl_r18_demo_deepspeed.py")
    assert "clip_grad" not in cfg.optim_wrapper
    assert cfg.strategy.gradient_clipping == 35.0


def test_the_deepspeed_configs_strategy_builds() -> None:
    pytest.importorskip("deepspeed", reason="DeepSpeed is not installed")
    strategy = STRATEGIES.build(dict(Config.fromfile(CONFIGS / "gfl_r18_demo_deepspeed.py").strategy))
    assert strategy.config["zero_optimization"] == {"stage": 3}


@pytest.mark.parametrize("kind", ["local", dict(state_dict_type="LOCAL_STATE_DICT")])
def test_checkpoints_nobody_else_could_load_are_refused(kind: object) -> None:
    with pytest.raises(ValueError, match="LOCAL_STATE_DICT.*write state_dict_cfg='full'"):
        STRATEGIES.build(dict(type="gfl_plugin.FSDPStrategy", state_dict_cfg=kind))
