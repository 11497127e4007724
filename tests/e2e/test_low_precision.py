"""Training steps in bf16 and fp16 compared with the same steps in fp32."""

from __future__ import annotations

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from runs import a_sample, model_config

pytestmark = pytest.mark.once
STEPS, IMAGES = 3, 2
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))]


def losses(device: str, dtype: torch.dtype | None) -> list[dict[str, float]]:
    """The losses of each training step of the demo's detector, with a gradient scaler for fp16."""
    init_default_scope("mmdet")
    torch.manual_seed(0)
    model = MODELS.build(model_config())
    model.init_weights()
    model.to(device).train()
    torch.nn.init.constant_(model.bbox_head.gfl_cls.bias, -1.0)  # otherwise the class loss is almost 0
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    scaler = torch.amp.GradScaler(device, enabled=dtype is torch.float16)
    found = []
    for step in range(STEPS):
        batch = pseudo_collate([a_sample(IMAGES * step + number) for number in range(IMAGES)])
        with torch.autocast(device, dtype=dtype or torch.bfloat16, enabled=dtype is not None):
            data = model.data_preprocessor(batch, True)
            parts = model(**data, mode="loss")
        assert all(value.dtype == torch.float32 for levels in parts.values() for value in levels)
        total, values = model.parse_losses(parts)
        optimizer.zero_grad()
        scaler.scale(total).backward()
        scaler.unscale_(optimizer)
        assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)
        scaler.step(optimizer)
        scaler.update()
        found.append({name: float(value.detach()) for name, value in values.items()})
    return found


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_losses_of_a_few_steps(device: str, dtype: torch.dtype) -> None:
    """Losses are fp32 under any autocast dtype, and close to those without autocast."""
    for low, full in zip(losses(device, dtype), losses(device, None)):
        for name, value in full.items():
            assert low[name] == pytest.approx(value, rel=0.02), name
