"""Runs a trained detector over labelled images and matches its boxes with the objects, side by side."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from mmdet.apis import init_detector
from mmengine.config import Config
from torch import nn
from torch.utils.data import DataLoader

from ..metrics.matched_sides import MatchedSides, match_sides
from .progress import ProgressDisplay


@dataclass(frozen=True)
class LoadedDetector:
    """A detector with its trained weights, ready to predict."""

    cfg: Config
    model: nn.Module

    @property
    def head(self) -> nn.Module:
        """The dense head.

        Raises:
            ValueError: if the detector has none.
        """
        head = getattr(self.model, "bbox_head", None)
        if head is None:
            raise ValueError(f"a {type(self.model).__name__} has no bbox_head; only single-stage detectors have one")
        return head


def load_detector(cfg: Config, checkpoint: Path | str, **test_settings: object) -> LoadedDetector:
    """Build a detector and load its weights, on the GPU if there is one.

    Args:
        cfg: a complete config.
        checkpoint: its trained weights.
        **test_settings: replace those of ``model.test_cfg``, such as ``with_uncertainty=True``; None removes one.

    Returns:
        The detector.

    Raises:
        FileNotFoundError: if there is no such checkpoint.
        CheckpointError: if the file is not a checkpoint.
        ValueError: if the head does not have the fields that the settings ask for.
    """
    if not Path(checkpoint).is_file():
        raise FileNotFoundError(f"checkpoint not found: {checkpoint}")
    cfg = cfg.copy()
    settings = {**(cfg.model.get("test_cfg") or {}), **test_settings}
    cfg.model.test_cfg = {name: value for name, value in settings.items() if value is not None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MMDetection, about a missing palette
        # With a palette, MMDetection does not look for one in test_dataloader, which a config may not have.
        device = "cuda:0" if torch.cuda.is_available() else "cpu"
        model = init_detector(cfg, str(checkpoint), palette="random", device=device)
    return LoadedDetector(cfg, model)


def collect_sides(
    detector: LoadedDetector, loader: DataLoader, name: str, iou_thr: float, display: ProgressDisplay
) -> MatchedSides:
    """Predict images, and match the detections with the objects.

    Args:
        detector: the trained detector.
        loader: the images, see :func:`labelled_loader`.
        name: of the images, for the display.
        iou_thr: minimum IoU of a match, in (0, 1).
        display: shows the progress.

    Returns:
        The matched detections, with ``std`` and ``distributions`` where the test settings ask for them.

    Raises:
        ValueError: if the images have no ground truth.
    """
    parts = []
    with display.task(f"predicting {name}", total=len(loader)) as task, torch.no_grad():
        for number, batch in enumerate(loader):
            parts.extend(match_sides(sample.to_dict(), iou_thr) for sample in detector.model.test_step(batch))
            task.update(completed=number + 1)
    return MatchedSides.concatenate(parts)
