"""Trains and tests one run of a study in a separate process.

``python -m gfl_plugin.analysis.studies.train_run FOLDER`` reads ``config.py`` in the folder, writes ``progress.json``
during training, ``val.bbox.json`` (detections of the validation split, in COCO's format), ``test.bbox.json`` if the
config has another test split, and, at the end, ``figures.json``.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path
from statistics import median

import torch
from mmengine.config import Config
from mmengine.runner import Runner

from ...runtime.atomic_files import write_whole
from .average_precision import ALL_METRICS, average_precisions
from .deform_conv_on_cpu import use_pytorch_deform_conv
from .score_ranking import score_rankings
from .training_progress import ProgressHook

DETECTIONS = "val.bbox.json"  # CocoMetric's file for outfile_prefix "val"
FIGURES = "figures.json"
VALIDATION = "val"  # key of the figures of the validation split, if there is another test split


def train_and_test(folder: Path) -> dict[str, float]:
    """Train the config in a folder and test the last weights.

    Args:
        folder: folder of the run; it contains ``config.py``.

    Returns:
        ``ALL_METRICS`` and ``RANKING_METRICS`` in percent, ``parameters``, ``step_ms`` (median time per training step
        in milliseconds, without data loading), ``threads`` (PyTorch's, of the CPU) and ``seconds`` (training and test).
        The metrics are those of the test split; if it is not the validation split, the metrics of that split are a dict
        with the key ``val``.
    """
    cfg = Config.fromfile(folder / "config.py")
    cfg.work_dir = str(folder)
    tested = cfg.test_dataloader.dataset != cfg.val_dataloader.dataset
    for split in ("val", "test"):
        _metric(cfg, split).outfile_prefix = str(folder / split)
    cfg.experiment_name = f"run_{time.time_ns()}"
    started = time.monotonic()
    runner = Runner.from_cfg(cfg)
    if not torch.cuda.is_available():  # a fifth faster there; only the order of additions differs
        runner.model.to(memory_format=torch.channels_last)
    runner.register_hook(ProgressHook(folder))
    runner.train()
    runner.val_loop.run()
    if tested:
        runner.test_loop.run()
    history = runner.message_hub.log_scalars
    step = median(history["train/time"].data[0]) - median(history["train/data_time"].data[0])
    validation = _figures(cfg, "val", folder)
    return {
        **({**_figures(cfg, "test", folder), VALIDATION: validation} if tested else validation),
        "parameters": sum(p.numel() for p in runner.model.parameters()),
        "step_ms": 1000 * step,
        "threads": torch.get_num_threads(),
        "seconds": time.monotonic() - started,
    }


def _metric(cfg: Config, split: str) -> dict:
    """The config of the COCO metric of a split."""
    evaluator = cfg[f"{split}_evaluator"]
    return evaluator[0] if isinstance(evaluator, (list, tuple)) else evaluator


def _figures(cfg: Config, split: str, folder: Path) -> dict[str, float]:
    """The metrics of the detections of a split that is ``val`` or ``test``."""
    truth = folder / f"{split}.gt.json"  # the metric writes it if the annotations are not in COCO's format
    truth = truth if truth.exists() else Path(_metric(cfg, split).ann_file)
    detections = folder / f"{split}.bbox.json"
    return {**average_precisions(truth, detections, ALL_METRICS), **score_rankings(truth, detections)}


def main() -> None:
    """Train and test the run of the folder in ``sys.argv``, and write its figures."""
    warnings.simplefilter("ignore")  # deprecated names that MMDetection and MMEngine use themselves
    folder = Path(sys.argv[1])
    if not torch.cuda.is_available():
        use_pytorch_deform_conv()
    write_whole(folder / FIGURES, json.dumps(train_and_test(folder), indent=2) + "\n")


if __name__ == "__main__":
    main()
