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
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from .dataset import DemoSize, make_dataset
from .picture import side_by_side

# Baseline first: the other rows are read against it.
MODELS = {"ATSS (baseline)": "atss_r18_demo.py", "GFL": "gfl_r18_demo.py"}
_PICTURES = 4  # validation images shown: the first ones


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
    side_by_side(data, dict(zip(MODELS, detections))).save(out / "detections.png")
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
