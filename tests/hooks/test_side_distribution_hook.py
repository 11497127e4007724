"""The hook's pictures show the detections that are evaluated, which it does not change."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.runner import Runner
from PIL import Image
from runs import a_sample, model_config, runner, samples
from torch.utils.data import DataLoader

from gfl_plugin.hooks import SideDistributionHook
from gfl_plugin.hooks.side_distribution_hook import spread_evenly
from gfl_plugin.pictures import side_picture as drawing
from gfl_plugin.pictures.pictured_boxes import BINS, NONE, NORMAL, PicturedBoxes

HOOK = dict(type="gfl_plugin.SideDistributionHook", images=3, score_thr=0.0)


class Recorded(BaseMetric):
    """Keeps what the evaluator gets."""

    def process(self, data_batch: object, data_samples: list[dict]) -> None:
        self.results.extend(sample["pred_instances"] for sample in data_samples)

    def compute_metrics(self, results: list) -> dict:
        self.seen = results
        return {"count": len(results)}


def images_in(folder: Path, count: int) -> list[dict]:
    """Samples whose images are files."""
    items = [a_sample(seed) for seed in range(count)]
    for seed, item in enumerate(items):
        path = folder / f"image{seed}.png"
        pixels = item["inputs"].permute(1, 2, 0).numpy().astype(np.uint8)
        Image.fromarray(pixels).save(path)
        item["data_samples"].set_metainfo(dict(img_path=str(path)))
    return items


def validating(
    folder: Path,
    hooks: list,
    coder: str = "Integral",
    backend: str = "LocalVisBackend",
    epochs: int = 1,
    count: int = 7,
) -> tuple[Runner, Recorded]:
    """A training whose validation has images in files; boxes of random weights have low scores."""
    metric = Recorded()
    model = model_config()
    model["bbox_head"].update(
        bbox_coder=dict(type=f"gfl_plugin.{coder}BBoxCoder", clip_border=False), loss_dfl="by_coder"
    )
    if coder != "Integral":
        model["bbox_head"]["reg_max"] = None
    model["test_cfg"] = dict(model["test_cfg"], score_thr=1e-6, max_per_img=20)
    items = images_in(folder, count)
    run = runner(
        folder / "work",
        samples(1),
        hooks,
        epochs,
        model=model,
        val_dataloader=DataLoader(items, batch_size=2, collate_fn=pseudo_collate),
        val_cfg=dict(),
        val_evaluator=[metric],
        visualizer=dict(type="mmdet.DetLocalVisualizer", vis_backends=[dict(type=backend)], name=folder.name),
    )
    return run, metric


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[PicturedBoxes]:
    """What is drawn, in place of the drawing."""
    seen: list[PicturedBoxes] = []

    def draw(image: np.ndarray, pictured: PicturedBoxes) -> np.ndarray:
        seen.append(pictured)
        return image

    monkeypatch.setattr(drawing, "side_picture", draw)
    return seen


def written(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "work").rglob("vis_image/*"))


def test_pictures_of_the_same_images_in_each_wanted_validation(tmp_path: Path) -> None:
    run, _ = validating(tmp_path, [{**HOOK, "interval": 2}], epochs=3)
    run.train()
    steps = [epoch * len(run.train_dataloader) for epoch in (1, 3)]  # of the first and the third validation
    assert written(tmp_path) == [f"sides_{n}_image{n}_{step}.png" for n in (0, 3, 6) for step in steps]
    (first, *_) = (tmp_path / "work").rglob("vis_image/*")
    assert min(Image.open(first).size) > 800  # the picture, not the image of 96 px


@pytest.mark.parametrize(("coder", "kind"), [("Integral", BINS), ("Gaussian", NORMAL), ("Dirac", NONE)])
def test_the_pictures_show_what_is_evaluated(coder: str, kind: str, tmp_path: Path, drawn: list[PicturedBoxes]) -> None:
    """Boxes are those that the evaluator gets, in the same order; each has the curves of its own sides."""
    run, metric = validating(tmp_path, [HOOK], coder)
    run.val()
    assert len(drawn) == 3 and len(metric.seen) == 7
    for pictured, position in zip(drawn, (0, 3, 6)):
        found = metric.seen[position]
        assert set(found) == {"bboxes", "scores", "labels"}  # no further field
        assert pictured.kind == kind and len(pictured.boxes) == len(found["scores"]) > 5
        assert sorted(pictured.boxes.tolist()) == sorted(found["bboxes"].tolist())
        if kind != NONE:
            heights, positions = pictured.curves.heights, pictured.curves.positions
            middle = (heights * positions).sum(axis=2) / heights.sum(axis=2)
            np.testing.assert_allclose(middle, pictured.boxes[: pictured.explained], atol=1e-2)


def test_results_are_the_same_bits_without_the_hook(tmp_path: Path, drawn: list[PicturedBoxes]) -> None:
    seen = []
    for name, hooks in (("with", [HOOK]), ("without", [])):
        (tmp_path / name).mkdir()
        run, metric = validating(tmp_path / name, hooks)
        run.train()
        seen.append(metric.seen)
    assert drawn
    for one, other in zip(*seen, strict=True):
        assert set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)


def test_nothing_stays_behind(tmp_path: Path, drawn: list[PicturedBoxes]) -> None:
    """The head is not watched between validations, and a batch's maps are freed; also after an interruption."""

    class Interrupt(Hook):
        def after_val_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
            if batch_idx == 1 and not hasattr(self, "raised"):
                self.raised = True
                raise KeyboardInterrupt

    run, _ = validating(tmp_path, [HOOK, Interrupt()])
    (hook,) = (one for one in run.hooks if isinstance(one, SideDistributionHook))
    with pytest.raises(KeyboardInterrupt):
        run.val()
    run.val()
    head = run.model.bbox_head
    assert not head._forward_hooks and hook._maps is None
    assert not head.test_cfg.get("with_distributions", False)
    assert len(drawn) == 5  # two before the interruption, then all three


def test_an_image_that_cannot_be_read_does_not_stop_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, metric = validating(tmp_path, [HOOK])
    (tmp_path / "image0.png").unlink()
    (tmp_path / "image3.png").write_bytes(b"junk")
    warnings = []
    monkeypatch.setattr(run.logger, "warning", lambda text, *rest: warnings.append(text))
    run.train()
    assert len(metric.seen) == 7 and len(written(tmp_path)) == 1
    assert len([text for text in warnings if "image0.png" in text or "image3.png" in text]) == 1


def test_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    run, _ = validating(tmp_path, [HOOK], backend="TensorboardVisBackend")
    run.val()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (file,) = (tmp_path / "work").rglob("events.out.*")
    events = EventAccumulator(str(file)).Reload()
    assert sorted(events.Tags()["images"]) == [f"sides_{position}_image{position}" for position in (0, 3, 6)]


@pytest.mark.parametrize("total", [0, 1, 2, 7, 100])
@pytest.mark.parametrize("count", [1, 3, 8])
def test_positions_are_spread_evenly(count: int, total: int) -> None:
    positions = sorted(spread_evenly(count, total))
    assert len(positions) == min(count, total) and set(positions) <= set(range(total))
    if len(positions) > 1:
        assert positions[0] == 0 and positions[-1] == total - 1
        assert max(np.diff(positions)) - min(np.diff(positions)) <= 1


@pytest.mark.parametrize("wrong", [dict(images=0), dict(interval=0), dict(count=-1), dict(score_thr=2)])
def test_wrong_settings_are_named(wrong: dict) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=re.escape(f"{name} is {wrong[name]!r}; it must be")):
        SideDistributionHook(**wrong)
