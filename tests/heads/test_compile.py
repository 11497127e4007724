"""torch.compile takes a whole detector, head and losses included, as one graph."""

from __future__ import annotations

import pytest
import torch
from cases import SCOPE, Recipe, gradient_difference, head_config, random_batch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict


@pytest.mark.parametrize("same_size", [True, False])
def test_training_step_is_one_graph_with_the_same_numbers(same_size: bool) -> None:
    head = head_config(type=SCOPE + "GFLHead", in_channels=16)
    config = dict(
        type="SingleStageDetector",
        backbone=dict(type="ResNet", depth=18, base_channels=4, norm_eval=True),
        neck=dict(type="FPN", in_channels=[8, 16, 32], out_channels=16, num_outs=3),
        bbox_head=head,
        train_cfg=head.pop("train_cfg"),
        test_cfg=head.pop("test_cfg"),
    )
    config["backbone"]["out_indices"] = (1, 2, 3)
    detector = MODELS.build(ConfigDict(config, _scope_="mmdet"))
    batch = random_batch(Recipe(same_size=same_size))
    samples = [
        DetDataSample(gt_instances=truth, metainfo={**meta, "batch_input_shape": (160, 192)})
        for truth, meta in zip(batch.gt_instances, batch.img_metas)
    ]
    images = torch.randn(2, 3, 160, 192)
    results = []
    for loss in (detector.loss, torch.compile(detector.loss, backend="aot_eager", fullgraph=True)):
        detector.zero_grad()
        losses = loss(images, samples)
        sum(sum(levels) for levels in losses.values()).backward()
        values = torch.stack([level.detach() for levels in losses.values() for level in levels])
        results.append((values, [parameter.grad.clone() for parameter in detector.bbox_head.parameters()]))
    (plain, gradients), (compiled, compiled_gradients) = results
    assert torch.allclose(plain, compiled, rtol=1e-5)
    assert gradient_difference(gradients, compiled_gradients) < 1e-5
