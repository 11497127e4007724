"""One run, in a process of its own: trains and tests the config in a folder, and leaves its result there.

``python -m gfl_plugin.analysis.studies.run FOLDER`` reads ``config.py`` and writes ``progress.json`` as it goes and
``result.json`` when everything is done, each whole or not at all.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from pathlib import Path
from statistics import median

import numpy as np
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...runtime.atomic_files import write_whole

# COCO's mean over IoU 0.5 … 0.95, and single thresholds as the paper prints.
THRESHOLDS = {"AP": None, "AP50": 0.5, "AP60": 0.6, "AP70": 0.7, "AP80": 0.8, "AP90": 0.9}


def write_json(path: Path, content: object, durable: bool = True) -> None:
    """JSON, whole or not at all; see :func:`gfl_plugin.runtime.atomic_files.write_whole`."""
    write_whole(path, json.dumps(content, indent=2) + "\n", durable)


class _Progress(Hook):
    """Says how far training is, and ends it when nobody is left to read that."""

    priority = "LOWEST"

    def __init__(self, folder: Path) -> None:
        self.file = folder / "progress.json"
        self.parent = os.getppid()
        self.written = 0.0

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if os.getppid() != self.parent:
            sys.exit("the study that started this run has ended")
        if time.monotonic() - self.written > 0.5:
            self.written = time.monotonic()
            state = dict(step=runner.iter + 1, steps=runner.max_iters, epoch=runner.epoch + 1, epochs=runner.max_epochs)
            write_json(self.file, state, durable=False)  # training does not wait for the disk


def train_and_test(folder: Path) -> dict:
    """The figures of a run: its APs in percent, its parameters, its time."""
    cfg = Config.fromfile(folder / "config.py")
    cfg.work_dir = str(folder)
    metric = cfg.val_evaluator[0] if isinstance(cfg.val_evaluator, (list, tuple)) else cfg.val_evaluator
    metric.outfile_prefix = str(folder / "val")
    cfg.experiment_name = f"run_{time.time_ns()}"
    started = time.monotonic()
    runner = Runner.from_cfg(cfg)
    runner.register_hook(_Progress(folder))
    runner.train()
    runner.val_loop.run()
    history = runner.message_hub.log_scalars
    step = median(history["train/time"].data[0]) - median(history["train/data_time"].data[0])
    truth = folder / "val.gt.json"  # where annotations are not COCO's, the metric has written them so
    return {
        **average_precisions(truth if truth.exists() else Path(metric.ann_file), folder / "val.bbox.json"),
        "parameters": sum(p.numel() for p in runner.model.parameters()),
        "step_ms": 1000 * step,
        "seconds": time.monotonic() - started,
    }


def average_precisions(truth: Path, detections: Path) -> dict[str, float]:
    """COCO's AP in percent, mean and at single IoUs, all of pycocotools' making; 0 without a detection."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    found = json.loads(detections.read_text()) if detections.exists() else []
    if not found:
        return dict.fromkeys(THRESHOLDS, 0.0)
    annotations = COCO(str(truth))
    evaluation = COCOeval(annotations, annotations.loadRes(found), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # IoU, recall, class; all areas, 100 detections
    values = {}
    for name, threshold in THRESHOLDS.items():
        part = precision if threshold is None else precision[np.isclose(evaluation.params.iouThrs, threshold)]
        part = part[part > -1]  # classes that do not occur
        values[name] = 100 * float(part.mean()) if len(part) else 0.0
    return values


def main() -> None:
    warnings.simplefilter("ignore")  # MMDetection's and MMEngine's notes on their own deprecated names
    folder = Path(sys.argv[1])
    write_json(folder / "figures.json", train_and_test(folder))


if __name__ == "__main__":
    main()
