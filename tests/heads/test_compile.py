"""torch.compile compiles a detector's layers once; torch.export can export prediction up to NMS."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch._dynamo
from cases import SCOPE, Recipe, gradient_difference, head_config, our_head, random_batch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config, ConfigDict
from mmengine.hooks import Hook
from runs import a_sample, model_config, runner
from torch import Tensor, nn

from gfl_plugin.coders import IntegralBBoxCoder


@pytest.mark.parametrize("quality", ["JointQuality", "DistributionGuidedQuality"])
@pytest.mark.parametrize("same_size", [True, False])
def test_a_compiled_training_step_has_the_same_losses_and_gradients(same_size: bool, quality: str) -> None:
    head = head_config(type=SCOPE + "GFLHead", in_channels=16, quality=dict(type=quality))
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
    for loss in (detector.loss, torch.compile(detector.loss, backend="aot_eager")):
        detector.zero_grad()
        losses = loss(images, samples)
        sum(sum(levels) for levels in losses.values()).backward()
        values = torch.stack([level.detach() for levels in losses.values() for level in levels])
        results.append((values, [parameter.grad.clone() for parameter in detector.bbox_head.parameters()]))
    (plain, gradients), (compiled, compiled_gradients) = results
    assert torch.allclose(plain, compiled, rtol=1e-5)
    assert gradient_difference(gradients, compiled_gradients) < 1e-5


class Graphs(Hook):
    """Records after each step the number of graphs that torch.compile has compiled so far."""

    def __init__(self) -> None:
        self.after_step: list[int] = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.after_step.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])


@pytest.mark.parametrize("warmup", [0, 20])
def test_nothing_is_compiled_after_the_first_steps_of_an_image_size(tmp_path: Path, warmup: int) -> None:
    """A training with compile=True compiles in its first steps and at a new image size only.

    Objects, images and the learning rate change in every step; in a warm-up, quality targets and QFL's exponent, too.
    """
    items = [a_sample(number, objects=number * 7 % 9) for number in range(50)]
    items += [a_sample(number, objects=3, side=128) for number in range(6)]
    schedule = [dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=20)]
    model = model_config()
    model["bbox_head"]["quality"] = dict(type="JointQuality", warmup=warmup)
    model["bbox_head"]["loss_cls"] = dict(type="QualityFocalLoss", warmup=warmup)
    cfg = Config(dict(model=model, default_scope="mmdet", compile=dict(backend="eager")))
    graphs = Graphs()
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    runner(tmp_path, items, [graphs], model=model, cfg=cfg, param_scheduler=schedule).train()
    assert graphs.after_step[0] > 0, "nothing was compiled"
    assert graphs.after_step[24] == graphs.after_step[1], "compiled again for the same image size"
    assert graphs.after_step[-1] - graphs.after_step[24] <= graphs.after_step[0], "compiled more than once per new size"
    assert graphs.after_step[-1] == graphs.after_step[-2]


class Prediction(nn.Module):
    """Prediction of a head up to NMS, with tensors as outputs; the uncertainty of box sides where it is asked for."""

    def __init__(self, **test_cfg: bool) -> None:
        super().__init__()
        self.head = our_head(test_cfg=test_cfg).eval()

    def forward(self, scores: list[Tensor], boxes: list[Tensor]) -> tuple[Tensor, ...]:
        metas = [dict(img_shape=(64, 60))] * len(scores[0])
        found = self.head.decode_best(scores, boxes, None, metas, self.head.test_cfg)
        return found.boxes, found.scores, found.labels, found.image, *found.extra.values()


@pytest.mark.parametrize("bins", [None, dict(spacing="geometric", last=64, first_step=1)], ids=["uniform", "geometric"])
@pytest.mark.parametrize("strict", [False, True])
def test_prediction_can_be_exported(strict: bool, bins: dict | None) -> None:
    """The exported program equals the head for any number of detections, including none, and for any bins."""
    model = Prediction(with_uncertainty=bins is not None, with_distributions=bins is not None)
    model.head.bbox_coder = IntegralBBoxCoder(bins=bins)

    def maps(shift: float) -> tuple[list[Tensor], list[Tensor]]:
        sizes = (8, 4, 2)
        scores = [torch.randn(2, model.head.num_classes, size, size) - shift for size in sizes]
        return scores, [torch.randn(2, 4 * 17, size, size) for size in sizes]

    program = torch.export.export(model, maps(2), strict=strict)
    counts = set()
    for shift in (2, 1, 4, 30):
        inputs = maps(shift)
        with torch.no_grad():
            expected, found = model(*inputs), program.module()(*inputs)
        assert len(expected) == len(found) == (4 if bins is None else 7)
        counts.add(len(expected[1]))
        assert all(torch.equal(one, other) for one, other in zip(expected, found))
    assert len(counts) == 4 and 0 in counts
