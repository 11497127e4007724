"""The demo's study: GFL and the ATSS baseline, trained alike on the embedded data, and compared."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import torch
from mmcv.ops import nms
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from PIL import Image, ImageDraw, ImageFont

from .dataset import DemoSize, make_dataset

# Baseline first: the other rows are read against it.
MODELS = {"ATSS (baseline)": "atss_r18_demo.py", "GFL": "gfl_r18_demo.py"}
_PICTURES = 4  # validation images shown
_ZOOM = 3
_COLOURS = (
    "#00d5ff",
    "#ffd000",
    "#ff5c5c",
    "#7dff6b",
    "#ff8bf5",
    "#ffffff",
    "#ff9a3c",
    "#9ab2ff",
    "#35e0b5",
    "#d8ff3c",
)


@dataclass(frozen=True)
class Result:
    """One model's row of the table."""

    model: str
    ap: float  # COCO's AP, percent
    ap50: float
    ap75: float
    step_ms: float  # median time of a training step without loading data, milliseconds
    parameters: int
    checkpoint: str


class _Progress(Hook):
    """Reports training steps to a callback."""

    priority = "LOWEST"

    def __init__(self, report: Callable[[int, int], None]) -> None:
        self.report = report

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        self.report(runner.iter + 1, runner.max_iters)


def run_study(
    configs: Path,
    out: Path,
    size: DemoSize = DemoSize(),
    epochs: int = 10,
    seed: int = 0,
    report: Callable[[str, int, int], None] = lambda task, done, total: None,
) -> list[Result]:
    """Make the data, train and test each model, and save ``results.json``, ``results.md`` and ``detections.png``.

    Args:
        configs: the folder ``configs/demo``.
        out: folder for data, checkpoints and results.
        size: how much data.
        epochs: of training, for each model.
        seed: of the data and of each training.
        report: called with what is being done, steps done and steps in all.

    Raises:
        FileNotFoundError: when a model's config is missing.
    """
    missing = [str(configs / name) for name in MODELS.values() if not (configs / name).is_file()]
    if missing:
        raise FileNotFoundError(f"the demo's configs are not there: {', '.join(missing)}; run it from a checkout")
    data = make_dataset(out / "data", size, seed, lambda done, total: report("data set", done, total)).resolve()
    results, detections = [], []
    for model, name in MODELS.items():
        cfg = _config(configs / name, data, out / Path(name).stem, epochs, seed)
        result, detected = _train(model, cfg, lambda done, total, model=model: report(model, done, total))
        results.append(result)
        detections.append(detected)
    (out / "results.json").write_text(json.dumps([asdict(result) for result in results], indent=2) + "\n")
    (out / "results.md").write_text(markdown(results))
    picture(data, dict(zip(MODELS, detections))).save(out / "detections.png")
    return results


def markdown(results: Sequence[Result]) -> str:
    """The results as a Markdown table."""
    lines = ["| model | AP | AP50 | AP75 | ms a training step | parameters |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {r.model} | {r.ap:.1f} | {r.ap50:.1f} | {r.ap75:.1f} | {r.step_ms:.0f} | {r.parameters:,} |"
        for r in results
    ]
    return "\n".join(lines) + "\n"


def _config(path: Path, data: Path, work_dir: Path, epochs: int, seed: int) -> Config:
    os.environ["GFL_DEMO_DATA"] = str(data)  # the config's own variable
    cfg = Config.fromfile(path)
    cfg.work_dir = str(work_dir)
    cfg.randomness = dict(seed=seed)
    cfg.log_level = "WARNING"
    cfg.train_cfg.update(max_epochs=epochs, val_interval=epochs + 1)  # tested once, after training
    for scheduler in cfg.param_scheduler:
        if "T_max" in scheduler:
            scheduler.T_max = epochs
    # Checkpoints of other epochs serve nobody here.
    cfg.default_hooks.checkpoint.update(interval=epochs, max_keep_ckpts=1)
    cfg.experiment_name = f"{path.stem}_{time.time_ns()}"
    return cfg


def _train(model: str, cfg: Config, report: Callable[[int, int], None]) -> tuple[Result, list]:
    """Train and test one model; its row, and its detections on the pictures' images."""
    Path(cfg.work_dir).mkdir(parents=True, exist_ok=True)
    # pycocotools prints its own table; it goes where the run's log is.
    with open(Path(cfg.work_dir) / "output.txt", "w") as output, contextlib.redirect_stdout(output):
        runner = Runner.from_cfg(cfg)
        runner.register_hook(_Progress(report))
        runner.train()
        metrics = runner.val_loop.run()
        detected = _detect(runner)
    history = runner.message_hub.log_scalars
    step = median(history["train/time"].data[0]) - median(history["train/data_time"].data[0])
    result = Result(
        model=model,
        # Without a single detection the metric has no numbers.
        ap=100 * metrics.get("coco/bbox_mAP", 0.0),
        ap50=100 * metrics.get("coco/bbox_mAP_50", 0.0),
        ap75=100 * metrics.get("coco/bbox_mAP_75", 0.0),
        step_ms=1000 * step,
        parameters=sum(p.numel() for p in runner.model.parameters()),
        checkpoint=str(Path(cfg.work_dir) / f"epoch_{cfg.train_cfg.max_epochs}.pth"),
    )
    return result, detected


def _detect(runner: Runner) -> list:
    """Data samples with detections for the first validation images."""
    dataset = runner.val_dataloader.dataset
    batch = runner.val_dataloader.collate_fn([dataset[index] for index in range(min(_PICTURES, len(dataset)))])
    runner.model.eval()
    with torch.no_grad():
        return runner.model.test_step(batch)


def picture(data: Path, detections: dict[str, list]) -> Image.Image:
    """Ground truth and each model's detections beside each other, one validation image a row.

    As many detections are drawn as there are objects: models' scores are on different scales, so that a threshold would
    favour one of them.

    Args:
        data: the demo's data set.
        detections: for each model its data samples, of the same images.
    """
    truth = json.loads((data / "val.json").read_text())
    rows = []
    for index, samples in enumerate(zip(*detections.values())):
        image = Image.open(samples[0].img_path).convert("RGB")
        boxes = [a for a in truth["annotations"] if a["image_id"] == samples[0].img_id]
        cells = [
            _drawn(
                image,
                "ground truth" if index == 0 else "",
                [(_corners(a["bbox"]), a["category_id"], None) for a in boxes],
            )
        ]
        for name, sample in zip(detections, samples):
            found = _best(sample.pred_instances.cpu(), len(boxes))
            objects = list(zip(found.bboxes.tolist(), found.labels.tolist(), found.scores.tolist()))
            cells.append(_drawn(image, name if index == 0 else "", objects))
        rows.append(cells)
    width, height = rows[0][0].size
    sheet = Image.new("RGB", (width * len(rows[0]), height * len(rows)), "white")
    for y, cells in enumerate(rows):
        for x, cell in enumerate(cells):
            sheet.paste(cell, (x * width, y * height))
    return sheet


def _best(found: InstanceData, count: int) -> InstanceData:
    """The best detections of whatever class that do not overlap a better one."""
    return found[nms(found.bboxes, found.scores, iou_threshold=0.4)[1][:count]] if len(found) else found


def _corners(box: Sequence[float]) -> list[float]:
    x, y, width, height = box
    return [x, y, x + width, y + height]


def _drawn(image: Image.Image, title: str, objects: Sequence[tuple[list[float], int, float | None]]) -> Image.Image:
    """An image enlarged, with boxes (corners, digit, score) on it."""
    picture = image.resize((image.width * _ZOOM, image.height * _ZOOM), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=15)
    for box, label, score in objects:
        x1, y1, x2, y2 = (value * _ZOOM for value in box)
        text = str(label) if score is None else f"{label} {score:.2f}"
        draw.rectangle((x1, y1, x2, y2), outline=_COLOURS[label], width=2)
        place = (x1, y1 - 18 if y1 >= 18 else y1 + 2)
        draw.rectangle(draw.textbbox(place, text, font=font), fill="black")
        draw.text(place, text, fill=_COLOURS[label], font=font)
    if title:
        place = (4, picture.height - 22)
        draw.rectangle(draw.textbbox(place, title, font=font), fill="white")
        draw.text(place, title, fill="black", font=font)
    return picture
