"""What the fields about box sides cost at test time: prediction with and without them, on the same maps."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from mmengine.config import ConfigDict
from torch import nn

from ...heads.box_intervals import OPTION, calibration_text, fingerprint, population_of
from ...heads.box_uncertainty import OPTIONS
from ...structures.calibration import BOX, EVERYTHING, STD, Calibration
from .heads import build_heads
from .paired_cost import PairedCost, paired_cost
from .settings import Report, Settings


def uncertainty_cost(settings: Settings, report: Report = lambda name: None) -> list[PairedCost]:
    """Time ``predict_by_feat`` alternately without and with the fields, with maps like those of a trained detector.

    Args:
        settings: settings of the benchmark: batch, classes, pairs, scores above the threshold.
        report: function that is called with the name of the current measurement.

    Returns:
        The cost of ``bbox_std``, of both fields, and of calibrated intervals; without them first.
    """
    case, (_, head) = settings.case().as_trained(settings.above), build_heads(settings.classes, settings.device)
    costs = []
    with tempfile.TemporaryDirectory() as folder:
        for options in (
            {"with_uncertainty": True},
            dict.fromkeys(OPTIONS, True),
            {OPTION: _calibration_file(head, Path(folder))},
        ):
            configs = (head.test_cfg, ConfigDict({**head.test_cfg, **options}))
            calls = [
                functools.partial(
                    head.predict_by_feat,
                    case.cls_scores,
                    case.bbox_preds,
                    batch_img_metas=case.img_metas,
                    cfg=config,
                    rescale=True,
                )
                for config in configs
            ]
            report(" + ".join(options))
            costs.append(paired_cost(" + ".join(options), calls, settings.runs, settings.device))
    return costs


def _calibration_file(head: nn.Module, folder: Path) -> str:
    """A file with margins of two standard deviations for a head."""
    calibration = Calibration(
        level=0.9,
        statement=BOX,
        unit=STD,
        quantiles={EVERYTHING: (2.0,) * 4},
        classes=tuple(map(str, range(head.num_classes))),
        head=fingerprint(head),
        iou_thr=0.5,
        test_cfg=population_of(head.test_cfg),
    )
    path = folder / "calibration.json"
    path.write_text(calibration_text(calibration))
    return str(path)
